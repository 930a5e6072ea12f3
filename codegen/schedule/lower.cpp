#include "codegen/schedule/lower.h"

#include <fmt/format.h>

#include "codegen/regions/region.h"
#include "ir/ops.h"
#include "ir/regions.h"

namespace sinter::codegen {

namespace {

absl::Status lower_schedule(RegionContext& c) {
  for (const ir::Node& node : c.module.nodes) {
    const ir::Region* region = ir::region_of(node);
    if (region == nullptr)
      return absl::InternalError(fmt::format("[{}] outside a phase", ir::info(node.op).name));
    if (auto status = lowering_of(region->kind)(c, node); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

int64_t state_bytes_per_position(const ir::Module& module, ir::ValueId state) {
  // keys and values alike: kv_heads x (features rounded up to 16) x f16; see
  // codegen/device/cpu/attention.h
  const auto& shape = module.tensor(state).shape;
  return shape[0].value * ((shape[2].value + 15) / 16 * 16) * 2;
}

absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               const std::vector<ScheduleShape>& shapes,
                               std::vector<passes::Remark>& remarks) {
  Lowering out;
  std::vector<passes::Remark> again;  // every schedule says the same
  for (const ScheduleShape& shape : shapes) {
    RegionContext c(module, device, activations, shape, out,
                    out.schedules.empty() ? remarks : again);
    if (auto status = lower_schedule(c); !status.ok()) return status;
  }
  return out;
}

}  // namespace sinter::codegen
