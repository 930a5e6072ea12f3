// Work on rows before a product and between phases: norms and elementwise ops in any order, what is
// kept of them for others, and what is read in parts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "ir/ops.h"
#include "tests/codegen/attention_models.h"
#include "tests/codegen/error_bounds.h"
#include "tests/codegen/gpu_code.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;
using ir::Op;
using ir::ValueId;

class Prologues : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Prologues, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Prologues, ::testing::Values(Device::gpu));

ValueId norm(ModelBuilder& b, const std::string& label, ValueId x, int64_t width) {
  return b.add(label, Op::rms_norm, {x, b.vector(label + "_w", width, DType::f16)},
               {{"eps", 1e-5}});
}
ValueId product(ModelBuilder& b, const std::string& label, ValueId x, int64_t rows, int64_t cols,
                const ir::WeightFormat& format) {
  return b.add(label, Op::matmul, {x, b.matrix(label + "_w", rows, cols, format)});
}

// Formats that multiply rows as integers per group, of the whole row, and as floats.
struct Width {
  int64_t cols;
  ir::WeightFormat format;
};
std::vector<Width> widths() {
  return {{96, affine(4, 32, DType::f16)},
          {160, ternary_tensor()},
          {37, dense(DType::f32)},
          {2144, symmetric(4, 7.5, 32, DType::f16)}};
}

// Post-norms: the sum of the residual and the norm of a product's whole row is computed by the next
// product, which writes it for the sum after it. The last product takes last rows of such a sum.
TEST_P(Prologues, PostNormsMoveToTheNextProduct) {
  std::vector<TestModel> models;
  for (const auto& [cols, format] : widths()) {
    ModelBuilder b(fmt::format("post_norms_{}", cols));
    const ValueId x = b.rows("x", cols);
    const ValueId o = product(b, "o", b.rows("a", cols), cols, cols, format);
    const ValueId h = b.add("h", Op::add, {x, norm(b, "o_norm", o, cols)});
    const ValueId d = product(b, "d", h, cols, cols, format);
    const ValueId end = b.add("end", Op::add, {h, norm(b, "d_norm", d, cols)});
    const ValueId last = norm(b, "last_norm", b.add("last", Op::last_rows, {end}), cols);
    models.push_back(b.finish(product(b, "head", last, 7, cols, format)));
    EXPECT_EQ(phases_of(models.back(), "matmul"), 3U);
    EXPECT_EQ(phases_of(models.back(), "rows"), 0U);
    if (cols > 2000 && GetParam() == Device::gpu) models.pop_back();
  }
  expect_models_match(models, GetParam(), Spread::one_target);
}

// Elementwise work on what no product made, and every op by row behind another.
TEST_P(Prologues, NormsAndElementwiseOpsInAnyOrder) {
  std::vector<TestModel> models;
  for (const auto& [cols, format] : widths()) {
    if (cols > 2000) continue;
    const auto model = [&, &cols = cols, &format = format](
                           std::string_view name,
                           const std::function<ValueId(ModelBuilder&, ValueId, ValueId)>& make) {
      ModelBuilder b(fmt::format("{}_{}", name, cols));
      const ValueId x = b.rows("x", cols);
      const ValueId rows = make(b, x, b.rows("y", cols));
      models.push_back(b.finish(product(b, "p", rows, 17, cols, format)));
      EXPECT_EQ(phases_of(models.back(), "rows"), 0U) << models.back().name;
    };
    model("gate", [](ModelBuilder& b, ValueId x, ValueId y) {
      return b.add("gated", Op::mul, {x, b.add("gate", Op::sigmoid, {y})});
    });
    model("two_norms", [cols = cols](ModelBuilder& b, ValueId x, ValueId y) {
      const ValueId sum = b.add("sum", Op::add, {norm(b, "nx", x, cols), norm(b, "ny", y, cols)});
      return norm(b, "n", b.add("act", Op::silu, {sum}), cols);
    });
    model("others", [cols = cols](ModelBuilder& b, ValueId x, ValueId y) {
      const ValueId centered =
          b.add("layer", Op::layer_norm,
                {b.add("sum", Op::add, {x, y}), b.vector("lw", cols), b.vector("lb", cols)},
                {{"eps", 1e-5}});
      const ValueId unit = b.add("unit", Op::l2_norm, {centered}, {{"eps", 1e-6}});
      return b.add("soft", Op::softmax, {b.add("scaled", Op::mul, {unit, b.vector("f", cols)})});
    });
  }
  expect_models_match(models, GetParam(), Spread::one_target);
}

// Each head's second half gates the first; heads are no multiple of 16 wide, or are.
TEST_P(Prologues, PartsOfHeadsAreReadInPlace) {
  std::vector<TestModel> models;
  for (const int64_t dim : {20, 16}) {
    ModelBuilder b(fmt::format("halves_{}", dim));
    const ValueId heads =
        b.reshape("heads", b.rows("x", 8 * 2 * dim), {ir::Dim::of('T'), 8, 2 * dim});
    const auto half = [&](const std::string& label, int64_t begin) {
      const ValueId part =
          b.add(label, Op::slice, {heads}, {{"begin", begin}, {"end", begin + dim}});
      return b.reshape(label, part, {ir::Dim::of('T'), 8 * dim});
    };
    const ValueId gate = b.add("gate", Op::sigmoid, {half("right", dim)});
    const ValueId gated = b.add("gated", Op::mul, {half("left", 0), gate});
    models.push_back(b.finish(product(b, "p", gated, 33, 8 * dim, affine(4, 32, DType::f16))));
    EXPECT_EQ(phases_of(models.back(), "rows"), 0U) << models.back().name;
  }
  expect_models_match(models, GetParam());
}

// Products of one input with epilogues of their own are one phase, with few workers and with many;
// the norm that they share is written for a third reader.
TEST_P(Prologues, ProductsOfOneInputAreOnePhase) {
  std::vector<TestModel> models;
  for (const ir::WeightFormat& format :
       {affine(4, 32, DType::f16), ternary_tensor(), dense(DType::f16)}) {
    ModelBuilder b(fmt::format("parallel_{}", models.size()));
    const ValueId x = b.rows("x", 96);
    const ValueId n = norm(b, "n", x, 96);
    const ValueId q = product(b, "q", n, 33, 96, format);
    const ValueId gate = product(b, "gate", n, 64, 96, format);
    const ValueId up = product(b, "up", n, 64, 96, format);
    const ValueId gated = b.add("gated", Op::mul, {b.add("act", Op::silu, {gate}), up});
    const ValueId down = product(b, "down", gated, 33, 64, format);
    const ValueId sum = b.add("sum", Op::add, {q, down});
    const ValueId more =
        b.add("more", Op::slice, {n}, {{"begin", int64_t{0}}, {"end", int64_t{33}}});
    models.push_back(b.finish(b.add("end", Op::mul, {sum, more})));
    EXPECT_EQ(phases_of(models.back(), "matmul"), 2U);
  }
  expect_models_match(models, GetParam());
}

// What no product takes is one phase, whatever it is made of, and of heads too.
TEST_P(Prologues, LeftoverWorkIsOnePhase) {
  std::vector<TestModel> models;
  for (const int64_t width : {21, 64}) {
    ModelBuilder b(fmt::format("leftover_{}", width));
    const ValueId x = b.rows("x", width);
    const ValueId y = b.add("sum", Op::add, {x, norm(b, "n", b.rows("y", width), width)});
    models.push_back(b.finish(norm(b, "end", b.add("last", Op::last_rows, {y}), width)));
  }
  {
    ModelBuilder b("leftover_heads");
    const ValueId heads = b.reshape("heads", b.rows("x", 3 * 24), {ir::Dim::of('T'), 3, 24});
    const ValueId scaled = b.add("scaled", Op::mul, {heads, b.vector("w", 24)});
    models.push_back(b.finish(norm(b, "n", scaled, 24)));
  }
  for (const TestModel& model : models)
    EXPECT_EQ(phases_of(model, "rows"), model.name == "leftover_heads" ? 2U : 1U) << model.name;
  expect_models_match(models, GetParam());
}

// Rotated rows in the phase of the product that multiplies them: of a norm, of what activations
// left in memory, of a gate, and of last rows, in steps of one row and of several.
ValueId rotated(ModelBuilder& b, const std::string& label, ValueId x, int64_t width,
                int64_t block) {
  return b.add(label, Op::rotate, {x, b.vector(label + "_signs", width)}, {{"block", block}});
}
ValueId rotated_product(ModelBuilder& b, const std::string& label, ValueId x, int64_t rows,
                        int64_t cols, int64_t block, const ir::WeightFormat& format) {
  return b.add(label, Op::matmul, {x, b.matrix(label + "_w", rows, cols, format, block)});
}
TEST_P(Prologues, RotatedRowsAreMultiplied) {
  std::vector<TestModel> models;
  const auto model = [&](int64_t cols, int64_t block, const ir::WeightFormat& format) {
    ModelBuilder b(fmt::format("rotated_{}_{}", cols, block));
    const ValueId x = b.rows("x", cols);
    const ValueId n = rotated(b, "r", norm(b, "n", x, cols), cols, block);
    const ValueId up = rotated_product(b, "up", n, cols, cols, block, format);
    const ValueId act = rotated(b, "act", b.add("silu", Op::silu, {up}), cols, block);
    const ValueId down = rotated_product(b, "down", act, 33, cols, block, format);
    models.push_back(b.finish(down));
    EXPECT_EQ(phases_of(models.back(), "matmul"), 2U);
    EXPECT_EQ(phases_of(models.back(), "rows"), 0U);
  };
  model(64, 64, ternary(64, DType::f16));
  model(192, 64, affine(4, 32, DType::f16));
  model(20, 4, dense(DType::f32));
  model(384, 128, ternary_tensor());
  expect_models_match(models, GetParam());
}

// Widths of 1 to 17 blocks: a wave has none, one or several of them.
TEST_P(Prologues, RotatedRowsOfManyBlocks) {
  std::vector<TestModel> models;
  const auto model = [&](int64_t blocks, int64_t block, const ir::WeightFormat& format,
                         bool gated) {
    const int64_t cols = blocks * block;
    ModelBuilder b(fmt::format("rotated_wide_{}_{}_{}", blocks, block, gated));
    ValueId x = b.rows("x", cols);
    if (gated) {
      x = b.add("gated", Op::mul, {x, b.add("gate", Op::sigmoid, {b.rows("y", cols)})});
    } else if (blocks % 2 != 0) {
      x = norm(b, "n", x, cols);
    }
    const ValueId r = rotated(b, "r", x, cols, block);
    models.push_back(b.finish(rotated_product(b, "p", r, 17, cols, block, format)));
    EXPECT_EQ(phases_of(models.back(), "rows"), 0U);
  };
  model(1, 1024, ternary(128, DType::f16), false);
  model(5, 1024, ternary(128, DType::f16), false);
  model(6, 1024, symmetric(1, 0.5, 128, DType::f16), true);
  model(17, 128, affine(4, 64, DType::f16), false);
  model(2, 1024, ternary_tensor(), false);
  model(3, 512, dense(DType::f16), false);
  model(3, 2048, ternary(128, DType::f16), true);
  if (GetParam() == Device::host) model(17, 1024, ternary(128, DType::f16), true);
  expect_models_match(models, GetParam());
}

// As machine code, which nothing here can run: without memory for what registers can hold.
TEST(GpuPrologues, RotationsCompileForEveryFamily) {
  ModelBuilder b("rotations_of_gpus");
  const ir::WeightFormat format = ternary(128, DType::f16);
  ValueId x = b.add("e", Op::embed, {b.tokens(), b.matrix("table", 40, 5120, format, 1024)});
  x = b.add("back", Op::rotate, {x, b.vector("signs", 5120)},
            {{"block", int64_t{1024}}, {"inverse", true}});
  const ValueId n = rotated(b, "r", norm(b, "n", x, 5120), 5120, 1024);
  const ValueId up = rotated_product(b, "up", n, 17408, 5120, 1024, format);
  const ValueId act = rotated(b, "act", b.add("silu", Op::silu, {up}), 17408, 1024);
  const TestModel model = b.finish(
      b.add("h", Op::add, {x, rotated_product(b, "down", act, 5120, 17408, 1024, format)}));
  EXPECT_EQ(phases_of(model, "rows"), 0U);
  expect_gpu_code(model, {"sm_90", "gfx1100", "gfx942"});
}

TEST(GpuPrologues, CompileForEveryFamily) {
  ModelBuilder b("prologues_of_gpus");
  const ir::WeightFormat format = affine(4, 64, DType::f16);
  const ValueId x = b.rows("x", 2048);
  const ValueId qkv = product(b, "qkv", x, 2048 + 3 * 128, 2048, format);
  const auto heads = [&](const std::string& label, int64_t begin, int64_t count, int64_t dim) {
    const ValueId part =
        b.add(label, Op::slice, {qkv}, {{"begin", begin}, {"end", begin + count * dim}});
    return b.reshape(label, part, {ir::Dim::of('T'), count, dim});
  };
  const ValueId both = heads("both", 0, 8, 256);
  const auto half = [&](const std::string& label, int64_t begin) {
    return b.add(label, Op::slice, {both}, {{"begin", begin}, {"end", begin + 128}});
  };
  const ValueId q =
      b.add("q_norm", Op::rms_norm, {half("q", 0), b.vector("q_norm_w", 128)}, {{"eps", 1e-6}});
  const ValueId keys = b.state("keys", 1, 128);
  const ValueId values = b.state("values", 1, 128);
  b.add("append_k", Op::kv_append, {keys, heads("k", 2048, 1, 128)});
  b.add("append_v", Op::kv_append, {values, heads("v", 2304, 1, 128)});
  const ValueId attention = b.add("attention", Op::attention, {q, keys, values}, {{"scale", 0.1}});
  const ValueId gate = b.reshape("gate", half("gate", 128), {ir::Dim::of('T'), 1024});
  const ValueId gated = b.add("gated", Op::mul, {attention, b.add("sigmoid", Op::sigmoid, {gate})});
  const ValueId o = product(b, "o", gated, 2048, 1024, format);
  const ValueId h = b.add("h", Op::add, {x, norm(b, "o_norm", o, 2048)});
  const ValueId n = norm(b, "n", h, 2048);
  const ValueId scores =
      b.add("scores", Op::softmax, {product(b, "router", n, 64, 2048, dense(DType::f32))});
  const ValueId chosen = b.add("chosen", Op::top_k, {scores}, {{"k", int64_t{4}}});
  const ValueId weights =
      b.add("weights", Op::sum_norm, {b.add("values_of", Op::gather, {scores, chosen})});
  const auto experts = [&](const std::string& label, int64_t rows, int64_t cols, ValueId of) {
    return b.add(label, Op::gather_matmul,
                 {of, chosen, b.stacked(label + "_w", 64, rows, cols, format)});
  };
  const ValueId up = experts("up", 256, 2048, n);
  const ValueId act = b.add("act", Op::mul, {b.add("silu", Op::silu, {up}), up});
  const ValueId down =
      b.add("down_sum", Op::weighted_sum, {experts("down", 2048, 256, act), weights});
  const TestModel model = b.finish(b.add("end", Op::add, {h, down}));
  EXPECT_EQ(phases_of(model, "rows"), 0U);
  // Attention of so many heads spills on gfx942, whatever is fused into it.
  expect_gpu_code(model, {"sm_90", "gfx1100", "gfx942"}, [](const runtime::Kernel& kernel) {
    return kernel.symbol.find("attention") != std::string::npos;
  });
}

TEST(GpuPrologues, ArrangedLayersCompile) {
  for (const TestModel& model : arranged_layers()) expect_gpu_code(model, {"sm_90", "gfx1100"});
}

}  // namespace
}  // namespace sinter::codegen::test
