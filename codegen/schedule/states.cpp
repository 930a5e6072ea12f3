#include "codegen/schedule/states.h"

namespace sinter::codegen {

namespace {

// Keys and values alike: heads of features rounded up to 16, float16
// (codegen/device/*/attention.h).
uint64_t bytes_per_position(const ir::TensorType& cache) {
  const int64_t heads = cache.shape[0].value;
  const int64_t features = (cache.shape[2].value + 15) / 16 * 16;
  return static_cast<uint64_t>(heads * features * 2);
}

}  // namespace

StateTable states_of(const ir::Module& module) {
  StateTable table;
  for (size_t i = 0; i < module.values.size(); ++i) {
    const auto id = static_cast<ir::ValueId>(i);
    if (!module.is_state(id)) continue;
    table.numbers[id] = static_cast<uint32_t>(table.states.size());
    table.states.push_back({.name = module.value(id).name,
                            .kind = runtime::PlanState::Kind::paged,
                            .format = "f16",
                            .bytes_per_position = bytes_per_position(module.tensor(id))});
  }
  table.layout = runtime::StateLayout(table.states);
  return table;
}

}  // namespace sinter::codegen
