// From the fused graph to phases: which kernels run, on which buffers, in which order.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/schedule/phase.h"
#include "codegen/targets/target.h"
#include "ir/graph.h"
#include "passes/pass.h"

namespace sinter::codegen {

// A schedule for each of the shapes; `joins_phases`: with join_phases.
absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               const std::vector<ScheduleShape>& shapes,
                               std::vector<passes::Remark>& remarks, bool joins_phases);
// With it.
absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               const std::vector<ScheduleShape>& shapes,
                               std::vector<passes::Remark>& remarks);

}  // namespace sinter::codegen
