// Whatever the model and its formats, what kernels are said to read and write is what the plan has.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include "codegen/device_plan.h"
#include "codegen/plan_builder.h"
#include "frontends/open/open_checkpoint.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/plan/check.h"
#include "runtime/plan/file.h"
#include "tests/codegen/hybrid_model.h"
#include "tests/codegen/windows.h"

namespace sinter::codegen {
namespace {

namespace fs = std::filesystem;

// The plan without machine code, weights and probes.
runtime::Plan describe(const Compilation& compilation, const models::ImportedModel& model,
                       const CompileOptions& options) {
  runtime::Plan plan;
  plan.vocab_size = model.vocab_size;
  plan.max_context = compilation.max_context;
  for (const DeviceCompilation& device : compilation.devices) {
    const auto number = static_cast<uint32_t>(plan.device_plans.size());
    const bool host = device.device == Device::host;
    plan.code.push_back({"x", host ? "host-x86-64" : "amdgpu", {}, number, {4096, 1, 0}, {}});
    plan.device_plans.push_back(assemble_device_plan(compilation, device, options));
    runtime::DevicePlan& assembled = plan.device_plans.back();
    assembled.fills = {{runtime::Fill::Kind::bits, "", 0, assembled.weight_bytes, 0, 0, 0}};
  }
  return plan;
}

TEST(PlanParameters, OfEveryGoldenFitItsPlan) {
  int models = 0;
  for (const auto& entry : fs::directory_iterator(SINTER_TEST_GOLDENS)) {
    if (!fs::exists(entry.path() / "golden.safetensors")) continue;
    const auto checkpoint = frontends::open_checkpoint(entry.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto model = models::import_checkpoint(**checkpoint);
    ASSERT_TRUE(model.ok()) << model.status();
    for (const Activations activations : {Activations::a8, Activations::a16}) {
      CompileOptions options;
      options.targets = *parse_targets("x86-64-v3,gfx1100");
      options.activations = activations;
      const auto compilation = lower_model(*model, checkpoint->get(), options);
      ASSERT_TRUE(compilation.ok()) << entry.path() << compilation.status();
      runtime::Plan plan = describe(*compilation, *model, options);
      ASSERT_EQ(plan.device_plans.size(), 2u);
      const auto status = runtime::check_contents(plan);
      EXPECT_TRUE(status.ok()) << entry.path() << ": " << status.error().message;
      // They say something: with less room anywhere the plan is refused.
      for (runtime::DevicePlan& device : plan.device_plans) {
        runtime::PlanState& state = device.states.front();
        const bool paged = state.kind == runtime::PlanState::Kind::paged;
        for (uint64_t* size : {&device.arena_bytes, &device.weights.back().bytes,
                               paged ? &state.bytes_per_position : &state.fixed_bytes}) {
          const uint64_t before = *size;
          *size = before / 2;
          EXPECT_FALSE(runtime::check_contents(plan).ok()) << entry.path();
          *size = before;
        }
      }
    }
    ++models;
  }
  EXPECT_GT(models, 20);
}

// Caches and state without positions, for every device.
TEST(PlanParameters, OfStatesOfEveryKindFitTheirPlan) {
  const models::ImportedModel model = hybrid_model();
  CompileOptions options;
  options.targets = *parse_targets("x86-64-v3,gfx1100");
  options.kv_format = ir::DType::q8;
  const auto compilation = lower_model(model, nullptr, options);
  ASSERT_TRUE(compilation.ok()) << compilation.status();
  runtime::Plan plan = describe(*compilation, model, options);
  ASSERT_EQ(plan.device_plans.size(), 2u);
  const auto status = runtime::check_contents(plan);
  EXPECT_TRUE(status.ok()) << status.error().message;
  using Kind = runtime::PlanState::Kind;
  for (runtime::DevicePlan& device : plan.device_plans) {
    ASSERT_EQ(device.states.size(), 4u);
    for (runtime::PlanState& state : device.states) {
      const bool paged = state.name == "keys" || state.name == "values";
      EXPECT_EQ(state.kind, paged ? Kind::paged : Kind::fixed) << state.name;
      EXPECT_EQ(state.format, paged ? "q8" : "f32") << state.name;
      uint64_t& size = paged ? state.bytes_per_position : state.fixed_bytes;
      for (const uint64_t less : {size / 2, uint64_t{0}}) {
        const uint64_t before = std::exchange(size, less);
        EXPECT_FALSE(runtime::check_contents(plan).ok()) << state.name << " of " << less;
        size = before;
      }
      const Kind before = std::exchange(state.kind, paged ? Kind::fixed : Kind::paged);
      EXPECT_FALSE(runtime::check_contents(plan).ok()) << state.name;
      state.kind = before;
    }
  }
}

// A ring has room for the window and the longest step of its device, whatever else there is.
TEST(PlanParameters, OfRingsFitTheStepsOfTheirDevice) {
  models::ImportedModel model = hybrid_model();
  constexpr int64_t kWindow = 20;
  give_window(model.module, kWindow);
  CompileOptions options;
  options.targets = *parse_targets("x86-64-v3,gfx1100");
  const auto compilation = lower_model(model, nullptr, options);
  ASSERT_TRUE(compilation.ok()) << compilation.status();
  const runtime::Plan made = describe(*compilation, model, options);
  const auto plan = runtime::plan_from_json(runtime::plan_to_json(made, -1));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(runtime::plan_to_json(*plan, -1), runtime::plan_to_json(made, -1));
  for (const runtime::DevicePlan& device : plan->device_plans) {
    const auto state = std::ranges::find(device.states, "keys", &runtime::PlanState::name);
    ASSERT_NE(state, device.states.end());
    EXPECT_EQ(state->kind, runtime::PlanState::Kind::ring);
    EXPECT_EQ(state->window, static_cast<uint64_t>(kWindow));
    EXPECT_EQ(
        state->positions,
        static_cast<uint64_t>((kWindow + device.chunk - 2) / page_positions + 2) * page_positions);
    EXPECT_EQ(state->fixed_bytes, state->positions * 16 * 2);
    EXPECT_EQ(runtime::StateLayout(device.states).page_bytes, 0u);
  }
}

}  // namespace
}  // namespace sinter::codegen
