#include "codegen/schedule/states.h"

#include "ir/state_format.h"

namespace sinter::codegen {

StateTable states_of(const ir::Module& module) {
  StateTable table;
  for (size_t i = 0; i < module.values.size(); ++i) {
    const auto id = static_cast<ir::ValueId>(i);
    if (!module.is_state(id)) continue;
    table.numbers[id] = static_cast<uint32_t>(table.states.size());
    const ir::TensorType& type = module.tensor(id);
    table.states.push_back(
        {.name = module.value(id).name,
         .kind = runtime::PlanState::Kind::paged,
         .format = ir::name(type.dtype),
         .bytes_per_position = static_cast<uint64_t>(ir::bytes_per_position(type))});
  }
  table.layout = runtime::StateLayout(table.states);
  return table;
}

}  // namespace sinter::codegen
