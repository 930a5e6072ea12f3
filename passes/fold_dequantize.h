// Defines the pass that lets products and embeddings read packed weights: `dequantize` disappears.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fold_dequantize(ir::Module module, PassContext& context);

}  // namespace sinter::passes
