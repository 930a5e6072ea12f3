// The choice among the columns of rows, in a router's phase and in one of its own.
#pragma once

#include <cstdint>
#include <string>

#include "codegen/regions/context.h"

namespace sinter::codegen {

// Calls the kernel for a [top_k]. `launch`: the C++ expression for those who choose.
void emit_top_k(RegionContext& c, Emitter& e, const ir::Node& op, const std::string& launch);
// Shared memory that it takes on a GPU.
int64_t choice_bytes(const ir::Node& op);

}  // namespace sinter::codegen
