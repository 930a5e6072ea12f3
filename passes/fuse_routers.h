// Defines the pass that makes one phase of a router: its product, scores, the choice among them and
// the weights of the chosen.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_routers(ir::Module module, PassContext& context);

}  // namespace sinter::passes
