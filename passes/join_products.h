// Defines the pass that makes one phase of products which have the same input and are ready at the
// same time, each with its own epilogue (q|k|v beside gate|up, where attention and MLP are
// parallel).
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> join_products(ir::Module module, PassContext& context);

}  // namespace sinter::passes
