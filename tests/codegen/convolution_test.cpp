// Short convolutions: against the interpreter, alone and together with what else a phase may hold,
// in steps of one sequence and of many.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "ir/ops.h"
#include "ir/regions.h"
#include "tests/codegen/company.h"
#include "tests/codegen/error_bounds.h"
#include "tests/codegen/gpu_code.h"
#include "tests/codegen/several_sequences.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;
using ir::Op;
using ir::ValueId;

class Convolution : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Convolution, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Convolution, ::testing::Values(Device::gpu));

ValueId convolve(ModelBuilder& b, const std::string& label, ValueId x, int64_t channels,
                 int64_t taps, DType dtype = DType::f32) {
  return b.add(label, Op::short_conv,
               {x, b.matrix(label + "_taps", channels, taps, dense(dtype)),
                b.fixed_state(label + "_inputs", {taps - 1, channels})});
}

// Both gates and the bias as LFM2 and gated delta nets have them: of one product [first | second |
// x], whose thirds need not begin where vectors do.
ValueId gated(ModelBuilder& b, ValueId rows, int64_t channels, int64_t taps, DType dtype) {
  const auto third = [&](const char* label, int64_t i) {
    return b.add(label, Op::slice, {rows}, {{"begin", i * channels}, {"end", (i + 1) * channels}});
  };
  const ValueId x = b.add("gate", Op::mul, {third("first", 0), third("x", 2)});
  ValueId y = convolve(b, "conv", x, channels, taps, dtype);
  y = b.add("bias", Op::add, {y, b.vector("conv_bias", channels, DType::f16)});
  y = b.add("silu", Op::silu, {y});
  return b.add("y", Op::mul, {third("second", 1), y});
}

// Channels that fill no vector, no tile of weights and no block of a GPU, and several of each.
std::vector<TestModel> convolution_models() {
  std::vector<TestModel> all;
  for (const int64_t channels : {1, 5, 16, 37, 300}) {
    for (const int64_t taps : {2, 3, 4}) {
      const DType dtype = taps == 2 ? DType::f32 : taps == 3 ? DType::f16 : DType::bf16;
      ModelBuilder plain(fmt::format("conv_{}_{}", channels, taps));
      all.push_back(
          plain.finish(convolve(plain, "conv", plain.rows("x", channels), channels, taps, dtype)));
      EXPECT_EQ(kinds_of(all.back()), (std::vector<std::string>{"embed", "convolution"}));
      ModelBuilder b(fmt::format("gated_conv_{}_{}", channels, taps));
      all.push_back(b.finish(gated(b, b.rows("x", 3 * channels), channels, taps, dtype)));
      EXPECT_EQ(kinds_of(all.back()), (std::vector<std::string>{"embed", "convolution"}));
    }
  }
  return all;
}

TEST_P(Convolution, AloneAndWithGatesBiasAndActivation) {
  expect_models_match(convolution_models(), GetParam(), Spread::one_target);
}

// Sequences with fewer rows than there are taps, at the seams of what a block goes over, and more
// rows than that; several steps, so that states are left and found.
TEST_P(Convolution, RowsOfManySequences) {
  const std::vector<TestModel> all = convolution_models();
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : all)
      if (model.name.ends_with("_37_2") || model.name.ends_with("_37_4") ||
          model.name.ends_with("_300_3"))
        variants.push_back({&model, Activations::a8});
    ASSERT_EQ(variants.size(), 6U);
    const Suite suite = compile(variants, target, 32);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      SeveralSequences together(kernels, 6);
      for (const int workers : {1, 3, kernels.wave == 0 ? 40 : kPlannedWorkers}) {
        together.run({{4, 2}, {0, 1}, {2, 1}, {5, 3}, {1, 1}, {3, 5}}, Mode::few, workers);
        together.run({{3, 4}, {1, 3}, {0, 7}, {5, 1}}, Mode::few, workers);
        together.run({{2, 30}, {4, 1}, {1, 2}, {0, 33}, {5, 31}, {3, 3}}, Mode::prefill, workers);
        together.run({{1, 31}, {2, 2}, {3, 96}}, Mode::prefill, workers);
        for (int s = 0; s < 6; ++s) together.run({{s, 1}}, Mode::decode, workers);
      }
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// A layer with caches behind one with a convolution: all of what a sequence keeps, together.
TEST_P(Convolution, BesideCaches) {
  ModelBuilder b("conv_and_attention");
  const int64_t channels = 48;
  const ValueId x = b.rows("x", channels);
  const ValueId in =
      b.add("in", Op::matmul,
            {x, b.matrix("in_proj", 3 * channels, channels, affine(4, 16, DType::f16))});
  ValueId y = gated(b, in, channels, 3, DType::f32);
  y = b.add("out", Op::matmul,
            {y, b.matrix("out_proj", channels, channels, affine(4, 16, DType::f16))});
  y = b.add("residual", Op::add, {x, y});
  const ValueId keys = b.state("keys", 1, 16);
  const ValueId values = b.state("values", 1, 16);
  const ValueId qkv =
      b.add("qkv", Op::matmul, {y, b.matrix("qkv_proj", 64, channels, affine(4, 16, DType::f16))});
  const auto heads = [&](const char* label, int64_t begin, int64_t count) {
    const ValueId part = b.add(std::string(label) + "_slice", Op::slice, {qkv},
                               {{"begin", begin}, {"end", begin + count * 16}});
    return b.reshape(label, part, {ir::Dim::of('T'), count, 16});
  };
  const ValueId q = heads("q", 0, 2);
  b.add("append_k", Op::kv_append, {keys, heads("k", 32, 1)});
  b.add("append_v", Op::kv_append, {values, heads("v", 48, 1)});
  const TestModel model =
      b.finish(b.add("attention", Op::attention, {q, keys, values}, {{"scale", 0.25}}));
  EXPECT_EQ(kinds_of(model), (std::vector<std::string>{"embed", "matmul", "convolution", "matmul",
                                                       "matmul", "attention"}));
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    const Suite suite = compile({{&model, Activations::a8}}, target);
    ASSERT_FALSE(suite.kernels.empty());
    const Kernels& kernels = suite.kernels.front();
    SeveralSequences together(kernels, 3);
    together.run({{2, 2}, {0, 7}, {1, 40}}, Mode::prefill, 2);
    together.run({{1, 1}, {0, 2}, {2, 1}}, Mode::few, 2);
    together.run({{2, 1}}, Mode::decode, 2);
    expect_company_does_not_matter(kernels);
    if (::testing::Test::HasFailure()) return;
  }
}

// As machine code, which nothing here can run.
TEST(GpuConvolution, CompilesForEveryFamily) {
  ModelBuilder b("conv_of_gpus");
  const TestModel model = b.finish(gated(b, b.rows("x", 3 * 3000), 3000, 4, DType::bf16));
  expect_gpu_code(model, {"sm_80", "gfx1100", "gfx942"});
}

}  // namespace
}  // namespace sinter::codegen::test
