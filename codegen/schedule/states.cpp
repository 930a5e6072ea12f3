#include "codegen/schedule/states.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "ir/state_format.h"
#include "runtime/abi/kernel_abi.h"

namespace sinter::codegen {

namespace {

using PlanKind = runtime::PlanState::Kind;

// Of the same name.
PlanKind kind_of(ir::StateKind kind) {
  const auto* const at = std::ranges::find(runtime::state_kinds, info(kind).name);
  return static_cast<PlanKind>(at - std::begin(runtime::state_kinds));
}

// What the rows of a step see, whose own positions are written before: all of the pages that these
// window + most_rows - 1 positions may lie in, since kernels read what stands beside them, too.
int64_t ring_positions(int64_t window, int64_t most_rows) {
  const int64_t pages = (window + most_rows - 2) / page_positions + 2;
  return pages * page_positions;
}

}  // namespace

StateTable states_of(const ir::Module& module, int64_t most_rows) {
  StateTable table;
  for (size_t i = 0; i < module.values.size(); ++i) {
    const auto id = static_cast<ir::ValueId>(i);
    if (!module.is_state(id)) continue;
    table.numbers[id] = static_cast<uint32_t>(table.states.size());
    const ir::StateType& type = module.state(id);
    runtime::PlanState state{.name = module.value(id).name,
                             .kind = kind_of(type.kind),
                             .format = ir::name(type.numbers.dtype)};
    switch (type.kind) {
      case ir::StateKind::paged:
        state.bytes_per_position = static_cast<uint64_t>(ir::bytes_per_position(type.numbers));
        break;
      case ir::StateKind::ring: {
        const int64_t window = type.numbers.shape[1].value;
        state.window = static_cast<uint64_t>(window);
        state.positions = static_cast<uint64_t>(ring_positions(window, most_rows));
        state.fixed_bytes =
            state.positions * static_cast<uint64_t>(ir::bytes_per_position(type.numbers));
        break;
      }
      case ir::StateKind::fixed:
        state.fixed_bytes = static_cast<uint64_t>(ir::fixed_bytes(type.numbers));
        break;
    }
    table.states.push_back(std::move(state));
  }
  table.layout = runtime::StateLayout(table.states);
  return table;
}

}  // namespace sinter::codegen
