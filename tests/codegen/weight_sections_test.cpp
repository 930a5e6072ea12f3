// Device plans with the same weights in the same layouts have one section of them.
#include "codegen/layouts/weight_sections.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "codegen/plan_builder.h"
#include "models/import.h"

namespace sinter::codegen {
namespace {

TEST(WeightSections, TheSameWeightsInTheSameLayoutsAreWrittenOnce) {
  auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/mlx_b4_g64");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = models::import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  CompileOptions options;
  options.targets = *parse_targets("x86-64-v3,gfx1100");
  const auto compiled = lower_model(*model, checkpoint->get(), options);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  ASSERT_EQ(compiled->devices.size(), 2U);

  const std::string path = testing::TempDir() + fmt::format("sections-{}.plan", ::getpid());
  auto writer = runtime::PlanWriter::create(path);
  ASSERT_TRUE(writer.ok());
  WeightSections sections(**writer);
  int calls = 0;
  const auto write = [&](size_t device) {
    const Lowering& lowering = compiled->devices[device].lowering;
    int64_t bytes = 64;
    for (const auto& [id, layout] : lowering.layouts) bytes += layout.bytes;
    const auto section =
        sections.write(compiled->module, lowering.layouts, static_cast<uint64_t>(bytes),
                       **checkpoint, [&](double) { ++calls; });
    EXPECT_TRUE(section.ok()) << section.status();
    return section.ok() ? *section : runtime::Section();
  };
  const runtime::Section host = write(0);
  const runtime::Section gpu = write(1);
  EXPECT_GT(host.bytes, 100000U);
  EXPECT_NE(host, gpu);
  EXPECT_GE(gpu.offset, host.offset + host.bytes);
  const int before = calls;
  EXPECT_EQ(write(0), host);
  EXPECT_EQ(write(1), gpu);
  EXPECT_EQ(calls, before);
}

}  // namespace
}  // namespace sinter::codegen
