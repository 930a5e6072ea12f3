// What several device plans read in the same layout is in the file once.
#include "codegen/layouts/weight_sections.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "codegen/device_plan.h"
#include "codegen/layouts/layout_table.h"
#include "codegen/plan_builder.h"
#include "frontends/open/open_checkpoint.h"
#include "models/import.h"

namespace sinter::codegen {
namespace {

using Readers = std::vector<size_t>;

PackedLayout layout_of(Layout order, int64_t bytes) {
  PackedLayout layout;
  layout.order = order;
  layout.bytes = bytes;
  return layout;
}

TEST(WeightSections, AreOfWhatTheSameDevicePlansReadInTheSameLayout) {
  const PackedLayout plain = layout_of(Layout::plain, 128);
  const PackedLayout lanes = layout_of(Layout::cpu16, 256), runs = layout_of(Layout::gpu16, 192);
  // Weight 1 is read alike by all, 2 by the last two, 3 in layouts of their own; 4 by one alone.
  const std::vector<WeightLayouts> plans = {{{1, plain}, {2, lanes}, {3, lanes}},
                                            {{1, plain}, {2, runs}, {3, runs}, {4, plain}},
                                            {{1, plain}, {2, runs}, {3, plain}}};
  const std::vector<WeightSection> sections = weight_sections(plans);
  std::map<Readers, std::set<ir::ValueId>> found;
  for (const WeightSection& section : sections) {
    int64_t bytes = 64;
    for (const auto& [id, layout] : section.weights) {
      bytes += layout.bytes;
      EXPECT_TRUE(found[section.readers].insert(id).second);
      for (const size_t reader : section.readers) EXPECT_EQ(plans[reader].at(id), layout);
    }
    EXPECT_EQ(section.bytes, bytes);
  }
  EXPECT_EQ(found, (std::map<Readers, std::set<ir::ValueId>>{
                       {{0}, {2, 3}}, {{0, 1, 2}, {1}}, {{1}, {3, 4}}, {{1, 2}, {2}}, {{2}, {3}}}));
  // Each device plan sees its own, one behind the other.
  const WeightPlaces last = weight_places(sections, 2);
  EXPECT_EQ(last.offsets, (std::map<ir::ValueId, int64_t>{{1, 0}, {2, 192}, {3, 448}}));
  EXPECT_EQ(last.bytes, 640);
  // One device plan has one section.
  const std::vector<WeightSection> one = weight_sections({plans[0]});
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].weights, plans[0]);
  EXPECT_TRUE(weight_sections({}).empty());
}

// Every device plan finds every weight as it would be packed for it alone; vectors are stored once.
TEST(WeightSections, OfAPlanForHostAndGpuHoldWhatEachReads) {
  auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/mlx_b4_g64");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = models::import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  CompileOptions options;
  options.targets = *parse_targets("x86-64-v3,gfx1100");
  const auto compiled = lower_model(*model, checkpoint->get(), options);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  ASSERT_EQ(compiled->devices.size(), 2U);
  const ir::Module& module = compiled->module;

  const std::string path = testing::TempDir() + fmt::format("sections-{}.plan", ::getpid());
  auto writer = runtime::PlanWriter::create(path);
  ASSERT_TRUE(writer.ok());
  runtime::Plan plan;
  plan.vocab_size = model->vocab_size;
  plan.max_context = compiled->max_context;
  const auto code = (*writer)->add(std::string_view("code"));
  ASSERT_TRUE(code.ok());
  for (const DeviceCompilation& device : compiled->devices) {
    const bool host = device.device == Device::host;
    plan.code.push_back({"x", host ? "host-x86-64" : "amdgpu", {}, host ? 0U : 1U, *code, {}});
    plan.device_plans.push_back(assemble_device_plan(*compiled, device, options));
  }
  plan.code[1].section = *(*writer)->add(std::string_view("other code"));
  double done = 0;
  for (const WeightSection& section : compiled->weight_sections) {
    const auto written =
        write_section(**writer, module, section, **checkpoint, [&](double f) { done = f; });
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(done, 1);
    for (const size_t reader : section.readers)
      plan.device_plans[reader].weights_sections.push_back(*written);
  }
  const auto size = (*writer)->finish(plan);
  ASSERT_TRUE(size.ok()) << size.error().message;
  const auto file = runtime::PlanFile::open(path, true);
  ASSERT_TRUE(file.ok()) << file.error().message;
  std::filesystem::remove(path);

  int vectors = 0, matrices = 0;
  const auto& plans = (*file)->plan().device_plans;
  for (size_t i = 0; i < plans.size(); ++i) {
    for (const runtime::PlanWeight& weight : plans[i].weights) {
      const ir::ValueId id = module.find_symbol(weight.name);
      std::vector<uint8_t> alone;
      const auto status = pack_weight(module.weight(id), module.weights.at(id),
                                      compiled->devices[i].lowering.layouts.at(id), **checkpoint,
                                      [&](absl::Span<const uint8_t> bytes) {
                                        alone.insert(alone.end(), bytes.begin(), bytes.end());
                                        return absl::OkStatus();
                                      });
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_EQ(alone.size(), weight.bytes);
      const uint8_t* const stored = (*file)->weights_at(plans[i], weight.offset);
      EXPECT_TRUE(std::ranges::equal(alone, std::span(stored, weight.bytes))) << weight.name;
      const auto other =
          std::ranges::find(plans[1 - i].weights, weight.name, &runtime::PlanWeight::name);
      ASSERT_NE(other, plans[1 - i].weights.end()) << weight.name;
      const bool vector = module.weight(id).shape.size() == 1;
      ++(vector ? vectors : matrices);
      EXPECT_EQ((*file)->weights_at(plans[1 - i], other->offset) == stored, vector) << weight.name;
    }
  }
  EXPECT_GT(vectors, 0);
  EXPECT_GT(matrices, 0);
}

}  // namespace
}  // namespace sinter::codegen
