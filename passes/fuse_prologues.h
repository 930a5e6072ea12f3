// Defines the pass that starts a `fused` matmul phase for every product and takes the norm of its
// input (and the choice of the last rows) into it: each worker recomputes the norm, which costs
// less than a phase and a round trip through memory.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_prologues(ir::Module module, PassContext& context);

}  // namespace sinter::passes
