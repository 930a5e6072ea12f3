#include "tests/codegen/gpu_code.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "codegen/compile/kernel_resources.h"
#include "codegen/compile/object_cache.h"
#include "codegen/schedule/source.h"

namespace sinter::codegen::test {

void expect_gpu_code(const TestModel& model, const std::vector<std::string_view>& targets,
                     const std::function<bool(const runtime::Kernel&)>& may_spill) {
  std::vector<passes::Remark> remarks;
  const auto lowering = lower(model.module, Device::gpu, Activations::a8, schedules(), remarks);
  ASSERT_TRUE(lowering.ok()) << model.name << ": " << lowering.status();
  const KernelSource source = assemble_source(*lowering, "tests");
  for (const std::string_view name : targets) {
    SCOPED_TRACE(fmt::format("{} for {}", model.name, name));
    const auto target = parse_targets(std::string(name));
    ASSERT_TRUE(target.ok()) << target.status();
    const auto object = compile_shared(source.text, target->front());
    ASSERT_TRUE(object.ok()) << object.status();
    if (target->front().family == "nvptx") continue;
    const auto resources = kernel_resources(*object, source.kernels);
    ASSERT_TRUE(resources.ok()) << resources.status();
    for (size_t i = 0; i < resources->size(); ++i)
      if (!may_spill(source.kernels[i]))
        EXPECT_EQ((*resources)[i].scratch_bytes, 0U) << source.kernels[i].symbol;
  }
}

}  // namespace sinter::codegen::test
