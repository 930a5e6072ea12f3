// Kernels of a model as machine code of GPUs, which nothing here can run.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "runtime/plan/plan.h"
#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {

// They compile for each target; on AMD's, whose code says so, a kernel keeps in registers unless
// `may_spill`.
void expect_gpu_code(
    const TestModel& model, const std::vector<std::string_view>& targets,
    const std::function<bool(const runtime::Kernel&)>& may_spill = [](const runtime::Kernel&) {
      return false;
    });

}  // namespace sinter::codegen::test
