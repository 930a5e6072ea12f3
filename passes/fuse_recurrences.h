// Defines the pass that takes the work around a recurrence into its phase: of a delta rule norms,
// scales and gates of the heads of its operands, a norm and a gate of its result; of a selective
// scan norms of groups, and what is done with single channels and steps.
#pragma once

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_recurrences(ir::Module module, PassContext& context);

}  // namespace sinter::passes
