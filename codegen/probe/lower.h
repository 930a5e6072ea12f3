// The probe schedule of a plan.
#pragma once

#include "absl/status/status.h"
#include "codegen/schedule/phase.h"
#include "codegen/targets/target.h"
#include "ir/graph.h"

namespace sinter::codegen {

// Adds the probe schedule: for every format of the matrices that the other schedules read, a phase
// that multiplies the first rows of the smallest with `input`, a vector of constants, as a decode
// step would.
absl::Status lower_probes(const ir::Module& module, Device device, Activations activations,
                          ir::ValueId input, Lowering& lowering);

}  // namespace sinter::codegen
