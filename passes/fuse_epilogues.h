// Defines the pass that takes what is done to a product lane by lane (bias, residual, activation,
// gating) into its phase.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_epilogues(ir::Module module, PassContext& context);

}  // namespace sinter::passes
