// What compiled kernels occupy on a GPU.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/target.h"
#include "runtime/plan.h"

namespace sinter::codegen {

// From the metadata of an AMD code object, for each of `kernels` in order.
absl::StatusOr<std::vector<runtime::KernelResources>> kernel_resources(
    const std::vector<uint8_t>& code_object, const std::vector<runtime::Kernel>& kernels);

// Machine code that ptxas makes of PTX, and what it says about the kernels.
struct Cubin {
  std::vector<uint8_t> code;
  std::vector<runtime::KernelResources> resources;
};
// The path of ptxas: in $PATH, $CUDA_PATH/bin or /usr/local/cuda/bin; empty when there is none.
std::string find_ptxas();
absl::StatusOr<Cubin> assemble_ptx(const std::string& ptxas, const std::vector<uint8_t>& ptx,
                                   const Target& target,
                                   const std::vector<runtime::Kernel>& kernels);

// Instructions of the loop in which a kernel multiplies weights (of those that read some, the one
// with the most products, then the shortest), per byte of weights that a lane reads there; 0 when
// the kernel has no such loop. `assembly`: of AMD code, or PTX.
double instructions_per_weight_byte(std::string_view assembly, std::string_view kernel);

}  // namespace sinter::codegen
