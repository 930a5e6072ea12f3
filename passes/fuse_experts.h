// Defines the pass that makes one phase of two products of the same rows with matrices of the
// chosen experts: gate and up.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_experts(ir::Module module, PassContext& context);

}  // namespace sinter::passes
