// Defines the pass that takes the work on heads around a delta rule into its phase: norms, scales
// and gates of its operands, a norm and a gate of its result.
#pragma once

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_delta(ir::Module module, PassContext& context);

}  // namespace sinter::passes
