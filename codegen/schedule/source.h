// One translation unit from the bodies of all phases: equal bodies share a kernel. For GPUs there
// is one more, which runs all of the first schedule.
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
  std::vector<std::vector<uint32_t>> used;  // kernel of each phase of each schedule
};

KernelSource assemble_source(const Lowering& lowering, Device device, std::string_view model);

}  // namespace sinter::codegen
