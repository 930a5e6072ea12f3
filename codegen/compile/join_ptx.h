// PTX that several threads made, as one would have made it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sinter::codegen {

// Of a module that was compiled in parts: the first kernel is in all of them, and of the others
// number i is in part (i - 1) % parts. LLVM numbers the kernels of a text, in labels of their
// blocks and of their stacks, and declares what belongs to all kernels at the first one. A
// failed precondition: kernels of some parts alone need declarations where the text begins (tables
// in memory). An internal error: the parts are not of one module.
absl::StatusOr<std::string> join_ptx(const std::vector<std::string>& parts);

}  // namespace sinter::codegen
