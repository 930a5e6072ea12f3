// Defines the pass that concatenates matrices multiplied with the same input (q|k|v, gate|up) into
// one product, when their formats agree.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_projections(ir::Module module, PassContext& context);

}  // namespace sinter::passes
