// Defines the pass that gives every node which no fusion took a phase of its own. After it the
// module is a list of phases.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> form_kernels(ir::Module module, PassContext& context);

}  // namespace sinter::passes
