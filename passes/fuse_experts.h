// Defines the pass that makes one phase of a router (its product, scores, choice and the weights of
// the chosen), and one of the products of the same rows with the matrices of the chosen experts.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_experts(ir::Module module, PassContext& context);

}  // namespace sinter::passes
