// One translation unit from the bodies of all phases: equal bodies share a kernel. For GPUs there
// is one more, which runs the whole decode schedule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/schedule/phase.h"
#include "codegen/targets/target.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

struct KernelSource {
  std::string text;
  std::vector<runtime::Kernel> kernels;
  std::vector<uint32_t> decode;  // kernel of each phase
  std::vector<uint32_t> prefill;
  std::vector<uint32_t> probe;
};

KernelSource assemble_source(const Lowering& lowering, Device device, std::string_view model);

}  // namespace sinter::codegen
