// Defines the pass that looks at the bytes of affine weights and, where every bias is the same
// multiple of its scale, stores no biases: symmetric, or ternary when codes stay below 3.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> prove_weight_structure(ir::Module module, PassContext& context);

}  // namespace sinter::passes
