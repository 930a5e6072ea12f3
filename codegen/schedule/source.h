// One translation unit from the bodies of all phases: equal bodies share a kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/schedule/phase.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

struct KernelSource {
  std::string text;
  std::vector<runtime::Kernel> kernels;
  std::vector<std::vector<uint32_t>> used;  // kernel of each phase of each schedule
};

// `persistent`: with one more kernel, sinter_decode, which runs all of the first schedule on a GPU.
// It holds all kernels of that schedule once more.
KernelSource assemble_source(const Lowering& lowering, std::string_view model,
                             bool persistent = false);

}  // namespace sinter::codegen
