// What multiplying weights costs in instructions, read off a kernel's assembly.
#pragma once

#include <string_view>

namespace sinter::codegen {

// Instructions of the loop in which a kernel multiplies weights (of those that read some, the one
// with the most products, then the shortest), per byte of weights that a lane reads there; 0 when
// the kernel has no such loop. `assembly`: of AMD code, or PTX.
double instructions_per_weight_byte(std::string_view assembly, std::string_view kernel);

}  // namespace sinter::codegen
