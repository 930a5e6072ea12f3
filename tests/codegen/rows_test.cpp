// Phases without a product: embeddings, tables of RoPE angles, and work on rows that no product
// absorbed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "ir/ops.h"
#include "tests/codegen/error_bounds.h"
#include "tests/codegen/gpu_code.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;
using ir::Op;

class Embed : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Embed, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Embed, ::testing::Values(Device::gpu));

class RopeTable : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, RopeTable, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, RopeTable, ::testing::Values(Device::gpu));

class Rows : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Rows, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Rows, ::testing::Values(Device::gpu));

TEST_P(Embed, EveryFormat) {
  std::vector<ir::WeightFormat> formats = {dense(DType::f32),
                                           dense(DType::f16),
                                           dense(DType::bf16),
                                           ternary(64, DType::f16),
                                           symmetric(1, 0.5, 128, DType::f16),
                                           symmetric(4, 7.5, 32, DType::f32)};
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    formats.push_back(
        affine(bits, bits % 2 == 0 ? 32 : 64, bits % 3 == 0 ? DType::bf16 : DType::f16));
  for (const ir::WeightFormat& format : further_formats()) formats.push_back(format);
  // One group to a row of 3 * 100 columns, which are no multiple of 16.
  const size_t odd = formats.size();
  formats.push_back(affine(4, 300, DType::f16));
  formats.push_back(ternary(300, DType::f16));
  std::vector<TestModel> models;
  for (size_t i = 0; i < formats.size(); ++i) {
    ModelBuilder b(fmt::format("embed_{}", i));
    // kVocabulary is no multiple of 16: tokens reach into the last, partly filled tile.
    const int64_t width = formats[i].is_dense() ? 37
                          : i >= odd            ? formats[i].group
                                                : 3 * least_cols(formats[i]);
    const auto table = b.matrix("table", kVocabulary, width, formats[i]);
    models.push_back(b.finish(b.add("x", Op::embed, {b.tokens(), table})));
  }
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : models) variants.push_back({&model, Activations::a8});
    const Suite suite = compile(variants, target);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      Machine machine(kernels, 16);
      Judge judge(kernels);
      Step step{.mode = Mode::prefill, .tokens = {0, 15, 16, 31, 32, 39, 17, 39, 0}, .workers = 4};
      judge.expect_phases_match(machine.run(step), step);
      for (const int32_t token : {0, 15, 16, 39}) {
        step = {.mode = Mode::decode, .tokens = {token}};
        judge.expect_phases_match(machine.run(step), step);
      }
    }
  }
}

// Rows that are rotated back, and scaled, in the phase of the table: coded and dense, several
// blocks, and those that end within a vector.
TEST_P(Embed, RotatedBackAndScaled) {
  std::vector<TestModel> models;
  const auto model = [&](int64_t width, int64_t block, const ir::WeightFormat& format) {
    ModelBuilder b(fmt::format("embed_rotated_{}_{}", width, block));
    ir::ValueId x =
        b.add("x", Op::embed, {b.tokens(), b.matrix("table", kVocabulary, width, format, block)});
    x = b.add("back", Op::rotate, {x, b.vector("signs", width)},
              {{"block", block}, {"inverse", true}});
    models.push_back(b.finish(b.add("scaled", Op::affine, {x}, {{"scale", 7.5}})));
    EXPECT_EQ(models.back().module.nodes.size(), 1U);
  };
  model(20, 4, dense(DType::f32));
  model(192, 64, ternary(64, DType::f16));
  model(384, 128, affine(4, 32, DType::bf16));
  model(5 * 1024, 1024, ternary(128, DType::f16));
  expect_models_match(models, GetParam());
}

// Tables with fewer rows than there are tokens: coded and dense, by themselves and scaled.
TEST_P(Embed, BeyondTheTableIsItsFirstRow) {
  std::vector<TestModel> models;
  for (const ir::WeightFormat& format : {dense(DType::bf16), affine(4, 32, DType::f16)})
    for (const bool scaled : {false, true}) {
      ModelBuilder b(fmt::format("embed_beyond_{}", models.size()));
      ir::ValueId x =
          b.add("x", Op::embed, {b.tokens(), b.matrix("table", kVocabulary - 5, 96, format)},
                {{"first_beyond", true}});
      if (scaled) x = b.add("scaled", Op::affine, {x}, {{"scale", 4.0}});
      models.push_back(b.finish(x));
      EXPECT_EQ(models.back().module.nodes.size(), 1U);
    }
  expect_models_match(models, GetParam());
}

// Against cos and sin in double precision of the angle as float32, near the start and far out.
TEST_P(RopeTable, NearAndFarPositions) {
  std::vector<TestModel> models;
  std::vector<std::vector<float>> frequencies;
  for (const size_t half : {8, 13, 16, 64}) {
    std::vector<float> f;
    for (size_t i = 0; i < half; ++i)
      f.push_back(
          static_cast<float>(std::pow(5e5, -static_cast<double>(i) / static_cast<double>(half))));
    ModelBuilder b(fmt::format("rope_table_{}", half));
    const double scale = half == 13 ? 1.3465735902799727 : 1.0;
    models.push_back(b.finish(b.add(
        "table", Op::rope_table, {b.constant("frequencies", f), b.tokens()}, {{"scale", scale}})));
    frequencies.push_back(std::move(f));
  }
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : models) variants.push_back({&model, Activations::a8});
    const Suite suite = compile(variants, target);
    ASSERT_FALSE(suite.kernels.empty());
    for (size_t m = 0; m < models.size(); ++m) {
      const Kernels& kernels = suite.kernels[m];
      const std::vector<float>& f = frequencies[m];
      Machine machine(kernels, 16);
      Judge judge(kernels);
      for (const int64_t position : {0, 1, 1000, 131071})
        for (const int64_t tokens : {1, 5}) {
          Step step{.mode = tokens == 1 ? Mode::decode : Mode::prefill,
                    .tokens = std::vector<int32_t>(static_cast<size_t>(tokens)),
                    .position = position};
          step.workers = 2;
          const StepValues got = machine.run(step);
          judge.expect_phases_match(got, step);
          const ir::Array& table = got.at(models[m].module.returns[0]);
          const double scale = f.size() == 13 ? 1.3465735902799727 : 1.0;
          for (int64_t t = 0; t < tokens; ++t)
            for (size_t i = 0; i < f.size(); ++i) {
              // The product is rounded once; cos and sin move by no more than the angle.
              const double angle = static_cast<double>(position + t) * double{f[i]};
              const double error = scale * (kRounding * angle + 4 * kRounding);
              const size_t row = static_cast<size_t>(t) * 2 * f.size();
              ASSERT_NEAR(table.data[row + i], scale * std::cos(angle), error)
                  << kernels.name() << " at " << position + t << ", pair " << i;
              ASSERT_NEAR(table.data[row + f.size() + i], scale * std::sin(angle), error)
                  << kernels.name() << " at " << position + t << ", pair " << i;
            }
        }
    }
  }
}

// Factors that grow with the position, on either side of a period's end; frequencies of 0 leave the
// factor alone.
TEST_P(RopeTable, GrowsWithThePosition) {
  struct Case {
    double log_scale;
    int64_t period, offset;
  };
  const std::vector<Case> cases = {{0.1, 8192, 1}, {0.1, 100, 0}, {0.37, 1, 3}, {-0.05, 7, 0}};
  std::vector<TestModel> models;
  for (const Case& of : cases) {
    ModelBuilder b(fmt::format("rope_table_grows_{}", models.size()));
    models.push_back(b.finish(b.add("table", Op::rope_table,
                                    {b.constant("frequencies", {0.0F, 0.5F}), b.tokens()},
                                    {{"scale", 1.5},
                                     {"log_scale", of.log_scale},
                                     {"log_period", of.period},
                                     {"log_offset", of.offset}})));
  }
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : models) variants.push_back({&model, Activations::a8});
    const Suite suite = compile(variants, target);
    ASSERT_FALSE(suite.kernels.empty());
    for (size_t m = 0; m < models.size(); ++m) {
      const Kernels& kernels = suite.kernels[m];
      Machine machine(kernels, 16);
      Judge judge(kernels);
      for (const int64_t position : {0, 5, 98, 8189, 1000000})
        for (const int64_t tokens : {1, 5}) {
          Step step{.mode = tokens == 1 ? Mode::decode : Mode::prefill,
                    .tokens = std::vector<int32_t>(static_cast<size_t>(tokens)),
                    .position = position};
          const StepValues got = machine.run(step);
          judge.expect_phases_match(got, step);
          const ir::Array& table = got.at(models[m].module.returns[0]);
          for (int64_t t = 0; t < tokens; ++t) {
            const auto periods =
                static_cast<double>((position + t + cases[m].offset) / cases[m].period);
            const double want = 1.5 * (1 + cases[m].log_scale * std::log(1 + periods));
            ASSERT_NEAR(table.data[static_cast<size_t>(4 * t)], want, 1e-6 * std::abs(want))
                << kernels.name() << " at " << position + t;
            ASSERT_EQ(table.data[static_cast<size_t>(4 * t + 2)], 0.0F);
          }
        }
    }
  }
}

TEST_P(Rows, OpsThatNoProductAbsorbs) {
  std::vector<TestModel> models;
  for (const int64_t width : {5, 16, 40, 100}) {
    const auto model = [&](Op op,
                           const std::function<ir::ValueId(ModelBuilder&, ir::ValueId)>& make) {
      ModelBuilder b(fmt::format("rows_{}_{}", ir::info(op).name, width));
      models.push_back(b.finish(make(b, b.rows("x", width))));
      const auto& nodes = models.back().module.nodes;
      EXPECT_EQ(nodes.back().text("kind", ""), "rows") << models.back().name;
    };
    for (const Op op : {Op::silu, Op::gelu, Op::gelu_erf, Op::relu2, Op::sigmoid, Op::last_rows})
      model(op, [&](ModelBuilder& b, ir::ValueId x) { return b.add("y", op, {x}); });
    for (const Op op : {Op::add, Op::mul})
      model(op, [&](ModelBuilder& b, ir::ValueId x) {
        const auto y = b.add("y", op, {x, b.rows("other", width)});
        return b.add("z", op, {y, b.vector("w", width, DType::f16)});
      });
    model(Op::rms_norm, [&](ModelBuilder& b, ir::ValueId x) {
      return b.add("y", Op::rms_norm, {x, b.vector("w", width)}, {{"eps", 1e-5}});
    });
    model(Op::rms_norm, [&](ModelBuilder& b, ir::ValueId x) {
      const auto y = b.add("y", Op::rms_norm, {x}, {{"eps", 1e-5}});
      return b.add("z", Op::rms_norm, {y}, {{"eps", 1e-5}});
    });
    model(Op::slice, [&](ModelBuilder& b, ir::ValueId x) {
      return b.add("y", Op::slice, {x}, {{"begin", width / 3}, {"end", width - 1}});
    });
    // Less than a vector, and several with a rest.
    if (width != 5 && width != 100) continue;
    for (const Op op : {Op::tanh, Op::exp, Op::softplus, Op::softmax, Op::mean})
      model(op, [&](ModelBuilder& b, ir::ValueId x) { return b.add("y", op, {x}); });
    model(Op::l2_norm, [&](ModelBuilder& b, ir::ValueId x) {
      return b.add("y", Op::l2_norm, {x}, {{"eps", 1e-6}});
    });
    model(Op::layer_norm, [&](ModelBuilder& b, ir::ValueId x) {
      const auto y = b.add("y", Op::layer_norm, {x, b.vector("w", width)}, {{"eps", 1e-5}});
      return b.add("z", Op::layer_norm,
                   {y, b.vector("v", width, DType::bf16), b.vector("b", width)}, {{"eps", 1e-5}});
    });
    model(Op::div, [&](ModelBuilder& b, ir::ValueId x) {
      const auto y = b.add("y", Op::exp, {b.add("t", Op::tanh, {b.rows("other", width)})});
      return b.add("z", Op::div, {b.add("ratio", Op::div, {x, y}), b.vector("w", width)});
    });
    // What is more than 0.4 standard deviations above the mean.
    model(Op::sqrt, [&](ModelBuilder& b, ir::ValueId x) {
      const auto minus = [&](const std::string& label, ir::ValueId a, ir::ValueId c, double scale) {
        return b.add(label, Op::add,
                     {a, b.add(label + "_scaled", Op::affine, {c}, {{"scale", -scale}})});
      };
      const auto off = minus("off", x, b.add("mean", Op::mean, {x}), 1);
      const auto square = b.add("square", Op::mul, {off, off});
      const auto deviation = b.add("deviation", Op::sqrt, {b.add("variance", Op::mean, {square})});
      return b.add("y", Op::clamp, {minus("above", off, deviation, 0.4)}, {{"min", 0.0}});
    });
    model(Op::clamp, [&](ModelBuilder& b, ir::ValueId x) {
      const auto y = b.add("y", Op::clamp, {x}, {{"min", -1.25}, {"max", 0.5}});
      const auto z = b.add("z", Op::clamp, {x}, {{"max", int64_t{1}}});
      return b.add("sum", Op::add, {y, z});
    });
    model(Op::affine, [&](ModelBuilder& b, ir::ValueId x) {
      const auto t = b.add("t", Op::tanh, {x});
      const auto y = b.add("y", Op::affine, {t}, {{"scale", 0.3}, {"offset", -1.7}});
      return b.add("z", Op::affine, {y}, {{"scale", int64_t{2}}});
    });
  }
  expect_models_match(models, GetParam());
}

// Blocks that end within a vector or a thread, that a wave has, and that many rounds of it have;
// rows and heads.
TEST_P(Rows, RotatedBlocks) {
  std::vector<TestModel> models;
  const auto model = [&](int64_t width, int64_t block, bool inverse, bool signs) {
    ModelBuilder b(fmt::format("rotate_{}_{}", width, block));
    std::vector<ir::ValueId> operands = {b.add("t", Op::tanh, {b.rows("x", width)})};
    if (signs) operands.push_back(b.vector("signs", width, DType::f16));
    models.push_back(
        b.finish(b.add("y", Op::rotate, operands, {{"block", block}, {"inverse", inverse}})));
    EXPECT_EQ(models.back().module.nodes.back().text("kind", ""), "rows");
  };
  model(6, 2, false, true);
  model(20, 4, true, true);
  model(24, 8, false, false);
  model(48, 16, true, false);
  model(192, 64, false, true);
  model(128, 128, true, true);
  model(17 * 64, 64, false, true);
  model(5 * 512, 512, false, true);
  model(1024, 1024, true, true);
  model(3 * 2048, 2048, false, true);
  {
    ModelBuilder b("rotate_heads");
    const ir::ValueId heads = b.reshape("heads", b.rows("x", 3 * 64), {ir::Dim::of('T'), 3, 64});
    models.push_back(
        b.finish(b.add("y", Op::rotate, {heads, b.vector("signs", 64)}, {{"block", int64_t{32}}})));
  }
  {
    ModelBuilder b("rotate_nested");
    ir::ValueId x = b.add("n", Op::rms_norm, {b.rows("x", 1024)}, {{"eps", 1e-5}});
    x = b.add("r", Op::rotate, {x, b.vector("signs", 1024)}, {{"block", int64_t{512}}});
    x = b.add("act", Op::silu, {x});
    models.push_back(b.finish(b.add("end", Op::rms_norm, {x}, {{"eps", 1e-5}})));
  }
  expect_models_match(models, GetParam());
}

// Arguments of exp() far beyond where it saturates.
TEST_P(Rows, ActivationsOfLargeNumbers) {
  std::vector<TestModel> models;
  for (const Op op : {Op::silu, Op::gelu, Op::sigmoid, Op::tanh, Op::softplus, Op::softmax}) {
    ModelBuilder b(fmt::format("rows_large_{}", ir::info(op).name));
    auto x = b.rows("x", 40);
    x = b.add("scaled", Op::mul, {x, b.constant("factor", std::vector<float>(40, 120.0F))});
    models.push_back(b.finish(b.add("y", op, {x})));
  }
  expect_models_match(models, GetParam());
}

// Near the largest number that there is, and down to 0.
TEST_P(Rows, ExpOfEverySize) {
  std::vector<float> values;
  for (int64_t i = 0; i < kVocabulary * 32; ++i)
    values.push_back(88.7F - 0.2F * static_cast<float>(i % 1280));
  ModelBuilder b("rows_exp");
  const TestModel model = b.finish(b.add("y", Op::exp, {b.rows("x", 32, values)}));
  expect_models_match({model}, GetParam());
}

// Where x is far from 0 beside its spread, the mean must be taken off before squares are summed.
TEST_P(Rows, LayerNormFarFromZero) {
  std::vector<float> values;
  for (int64_t i = 0; i < kVocabulary * 100; ++i)
    values.push_back(1000.0F + static_cast<float>(i * 37 % 64) / 64);
  ModelBuilder b("rows_far");
  const TestModel model = b.finish(
      b.add("y", Op::layer_norm, {b.rows("x", 100, values), b.vector("w", 100)}, {{"eps", 1e-5}}));
  expect_models_match({model}, GetParam());
}

// As machine code, which nothing here can run: without memory for what registers can hold.
TEST(GpuRows, CompileForEveryFamily) {
  ModelBuilder b("rows_of_gpus");
  ir::ValueId x = b.rows("x", 3000);
  x = b.add("layer_norm", Op::layer_norm,
            {x, b.vector("w", 3000), b.vector("bias", 3000, DType::f16)}, {{"eps", 1e-5}});
  for (const Op op : {Op::tanh, Op::exp, Op::sqrt, Op::softplus})
    x = b.add(std::string(ir::info(op).name), op, {x});
  x = b.add("div", Op::div, {x, b.add("mean", Op::mean, {x})});
  x = b.add("clamp", Op::clamp, {x}, {{"max", 7.0}});
  x = b.add("affine", Op::affine, {x}, {{"scale", 0.3}, {"offset", -1.7}});
  x = b.add("l2_norm", Op::l2_norm, {x}, {{"eps", 1e-6}});
  const TestModel model = b.finish(b.add("softmax", Op::softmax, {x}));
  expect_gpu_code(model, {"sm_80", "gfx1100", "gfx942"});
}

}  // namespace
}  // namespace sinter::codegen::test
