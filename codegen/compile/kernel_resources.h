// What compiled kernels occupy on a GPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/targets/target.h"
#include "runtime/plan/plan.h"

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
// Kernels that ptxas spills fewer registers of are left as they are.
inline constexpr uint32_t few_spills = 4;
absl::StatusOr<Cubin> assemble_ptx(const std::string& ptxas, const std::vector<uint8_t>& ptx,
                                   const Target& target,
                                   const std::vector<runtime::Kernel>& kernels);

}  // namespace sinter::codegen
