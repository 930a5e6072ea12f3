#include "codegen/regions/lower.h"

#include <fmt/format.h>

#include "codegen/regions/region.h"
#include "codegen/schedule/early_starts.h"
#include "codegen/schedule/side_by_side.h"
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
  if (c.on_gpu() && c.one_row()) join_side_by_side(c.lowered);
  return settle_early_starts(c.lowered);
}

}  // namespace

absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               const std::vector<ScheduleShape>& shapes,
                               std::vector<passes::Remark>& remarks) {
  Lowering out;
  int64_t most_rows = 1;
  for (const ScheduleShape& shape : shapes) most_rows = std::max(most_rows, shape.most_rows);
  out.states = states_of(module, most_rows);
  std::vector<passes::Remark> again;  // every schedule says the same
  for (const ScheduleShape& shape : shapes) {
    RegionContext c(module, device, activations, shape, out,
                    out.schedules.empty() ? remarks : again);
    if (auto status = lower_schedule(c); !status.ok()) return status;
  }
  return out;
}

}  // namespace sinter::codegen
