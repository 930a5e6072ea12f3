// Defines the pass that makes one phase of attention and what prepares it: split of heads, per-head
// norm, RoPE, append to the cache. An append is of the first attention behind it that reads the
// state; others that do append nothing.
#pragma once

#include "passes/pass.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fuse_attention(ir::Module module, PassContext& context);

}  // namespace sinter::passes
