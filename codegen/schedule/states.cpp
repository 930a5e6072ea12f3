#include "codegen/schedule/states.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "ir/state_format.h"

namespace sinter::codegen {

namespace {

using PlanKind = runtime::PlanState::Kind;

// Of the same name.
PlanKind kind_of(ir::StateKind kind) {
  const auto* const at = std::ranges::find(runtime::state_kinds, info(kind).name);
  return static_cast<PlanKind>(at - std::begin(runtime::state_kinds));
}

}  // namespace

StateTable states_of(const ir::Module& module) {
  StateTable table;
  for (size_t i = 0; i < module.values.size(); ++i) {
    const auto id = static_cast<ir::ValueId>(i);
    if (!module.is_state(id)) continue;
    table.numbers[id] = static_cast<uint32_t>(table.states.size());
    const ir::StateType& type = module.state(id);
    runtime::PlanState state{.name = module.value(id).name,
                             .kind = kind_of(type.kind),
                             .format = ir::name(type.numbers.dtype)};
    if (info(type.kind).by_position) {
      state.bytes_per_position = static_cast<uint64_t>(ir::bytes_per_position(type.numbers));
    } else {
      state.fixed_bytes = static_cast<uint64_t>(ir::fixed_bytes(type.numbers));
    }
    table.states.push_back(std::move(state));
  }
  table.layout = runtime::StateLayout(table.states);
  return table;
}

}  // namespace sinter::codegen
