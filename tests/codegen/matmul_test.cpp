// Products of every weight format with shapes that do not fit tiles and vectors, alone and with
// what is fused into them.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "ir/ops.h"
#include "tests/codegen/error_bounds.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;
using ir::Op;

constexpr DType kScaleTypes[] = {DType::f16, DType::bf16, DType::f32};
constexpr int64_t kRows[] = {1, 7, 15, 16, 17, 33, 48};
// In groups of columns: none of the products is a multiple of 1024.
constexpr int64_t kGroups[] = {1, 5, 3, 17};

TestModel product(const std::string& name, int64_t rows, int64_t cols,
                  const ir::WeightFormat& format) {
  ModelBuilder b(name);
  const auto x = b.rows("x", cols);
  return b.finish(b.add("y", Op::matmul, {x, b.matrix("w", rows, cols, format)}));
}

// The next of a list, over and over.
template <class T, size_t N>
T cycle(const T (&list)[N], size_t i) {
  return list[i % N];
}

class Matmul : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Matmul, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Matmul, ::testing::Values(Device::gpu));

TEST_P(Matmul, AffineWeightsOfEveryWidthAndGroupSize) {
  std::vector<TestModel> models;
  size_t i = 0;
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128}) {
      models.push_back(product(fmt::format("affine_b{}_g{}", bits, group), cycle(kRows, i),
                               group * cycle(kGroups, i),
                               affine(bits, group, cycle(kScaleTypes, i))));
      ++i;
    }
  expect_models_match(models, GetParam(), Spread::one_target);
}

TEST_P(Matmul, SymmetricAndTernaryWeights) {
  std::vector<TestModel> models;
  size_t i = 0;
  const auto add = [&](const ir::WeightFormat& format) {
    models.push_back(product(fmt::format("product_{}", i), cycle(kRows, i + 3),
                             format.group * cycle(kGroups, i + 1), format));
    ++i;
  };
  add(symmetric(1, 0.0, 32, DType::f16));
  add(symmetric(1, 0.5, 128, DType::bf16));
  add(symmetric(2, 1.5, 32, DType::f32));
  add(symmetric(3, 4, 32, DType::f16));
  add(symmetric(4, 8, 64, DType::f16));
  add(symmetric(4, 7.5, 32, DType::bf16));
  add(symmetric(5, 16, 32, DType::f32));
  add(symmetric(6, 31.5, 32, DType::f16));
  add(symmetric(8, 128, 32, DType::bf16));
  add(ternary(64, DType::f16));
  add(ternary(128, DType::bf16));
  expect_models_match(models, GetParam(), Spread::one_target);
}

TEST_P(Matmul, WeightsOfOtherFormats) {
  std::vector<TestModel> models;
  size_t i = 0;
  for (const ir::WeightFormat& format : further_formats()) {
    models.push_back(product(fmt::format("other_{}", i), cycle(kRows, i + 1),
                             least_cols(format) * cycle(kGroups, i), format));
    ++i;
  }
  EXPECT_GE(i, 18U);
  expect_models_match(models, GetParam(), Spread::one_target);
}

// One scale for the whole matrix, activations with one for the row.
TEST_P(Matmul, WeightsWithAScaleOfTheTensor) {
  std::vector<TestModel> models;
  models.push_back(product("tensor_96", 33, 96, ternary_tensor()));
  models.push_back(product("tensor_352", 16, 352, ternary_tensor()));
  models.push_back(product("tensor_640", 7, 640, ternary_tensor()));
  models.push_back(product("tensor_2304", 17, 2304, ternary_tensor()));
  // Several matrices become one weight and keep their scales.
  ModelBuilder b("tensor_fused");
  const auto x =
      b.add("norm", Op::rms_norm, {b.rows("x", 160), b.vector("norm_w", 160)}, {{"eps", 1e-5}});
  const auto q = b.add("q", Op::matmul, {x, b.matrix("q_w", 21, 160, ternary_tensor())});
  const auto k = b.add("k", Op::matmul, {x, b.matrix("k_w", 7, 160, ternary_tensor())});
  const auto v = b.add("v", Op::matmul, {x, b.matrix("v_w", 7, 160, ternary_tensor())});
  const auto part = b.add("part", Op::slice, {q}, {{"begin", int64_t{14}}, {"end", int64_t{21}}});
  models.push_back(b.finish(b.add("all", Op::add, {b.add("kv", Op::mul, {k, v}), part})));
  // Two parts that meet in an epilogue, each with tiles of its own.
  ModelBuilder g("tensor_gated");
  const auto y = g.rows("x", 128);
  const auto gate = g.add("gate", Op::matmul, {y, g.matrix("g_w", 37, 128, ternary_tensor())});
  const auto up = g.add("up", Op::matmul, {y, g.matrix("u_w", 37, 128, ternary_tensor())});
  models.push_back(g.finish(g.add("act", Op::mul, {g.add("relu2", Op::relu2, {gate}), up})));
  expect_models_match(models, GetParam());
}

// Columns that are no multiple of 16, or of 32: rows are filled up with zeros, and with them the
// group of a row, or a last group.
TEST_P(Matmul, AnyNumberOfColumns) {
  const auto coded = [](ir::CodeMap map, int bits, int group, DType scale) {
    return ir::WeightFormat{.map = map, .bits = bits, .group = group, .scale_type = scale};
  };
  ir::WeightFormat fp8_tensor = coded(ir::CodeMap::fp8, 8, 0, DType::f32);
  fp8_tensor.tensor_scale = true;
  std::vector<TestModel> models;
  size_t i = 0;
  const auto add = [&](int64_t cols, const ir::WeightFormat& format) {
    ModelBuilder b(fmt::format("any_{}_{}", i, cols));
    auto x = b.rows("x", cols);
    if (i % 2 == 0)
      x = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", cols, cycle(kScaleTypes, i))},
                {{"eps", 1e-5}});
    models.push_back(
        b.finish(b.add("y", Op::matmul, {x, b.matrix("w", cycle(kRows, i), cols, format)})));
    ++i;
  };
  for (const int64_t cols : {1, 7, 80, 100, 102, 144, 172, 260, 2050}) add(cols, ternary_tensor());
  add(100, affine(4, 100, DType::f16));
  add(172, affine(8, 172, DType::bf16));
  add(260, symmetric(4, 8, 260, DType::f16));
  add(100, ternary(100, DType::f16));
  add(172, coded(ir::CodeMap::sign, 1, 172, DType::f16));
  add(100, coded(ir::CodeMap::shifted, 4, 100, DType::f16));
  add(260, coded(ir::CodeMap::shifted, 8, 260, DType::bf16));
  add(172, coded(ir::CodeMap::iq4, 4, 172, DType::f32));
  add(144, coded(ir::CodeMap::fp4, 4, 16, DType::e4m3));
  add(144, affine(4, 48, DType::f16));
  add(144, coded(ir::CodeMap::shifted, 4, 48, DType::f16));
  for (const int64_t cols : {100, 172, 260}) add(cols, fp8_tensor);
  add(100, coded(ir::CodeMap::fp8, 8, 100, DType::f16));
  expect_models_match(models, GetParam(), Spread::one_target);
}

// A row whose sums could leave 32 bits is refused; the longest that is not computes the right sums.
TEST(HostMatmul, RowsAreNoLongerThanTheirSumsAllow) {
  const auto lowered = [](int64_t cols, const ir::WeightFormat& format, Activations activations) {
    ModelBuilder b(fmt::format("long_row_{}_{}", cols, ir::to_string(format)));
    const auto x = b.rows("x", cols, std::vector<float>(static_cast<size_t>(cols)));
    const TestModel model = b.finish(b.add("y", Op::matmul, {x, b.matrix("w", 1, cols, format)}));
    std::vector<passes::Remark> remarks;
    return lower(model.module, Device::host, activations, schedules(), remarks).status();
  };
  // 2^31 / (127 * 256) columns to a lane, of which there are 16.
  constexpr int64_t kMost = 66052 * 16 / 32 * 32;
  EXPECT_TRUE(lowered(kMost, ternary_tensor(), Activations::a16).ok());
  const absl::Status refused = lowered(kMost + 1, ternary_tensor(), Activations::a16);
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(refused.message().find("at most 1056832 columns that share a scale"), std::string::npos)
      << refused;
  EXPECT_TRUE(lowered(kMost + 1, ternary_tensor(), Activations::a8).ok());

  // All of one sign: the sum of a row's integers is beyond 2^31.
  std::vector<TestModel> models;
  constexpr int64_t kCols = 140000;
  ModelBuilder b("long_row");
  const auto x = b.rows("x", kCols, std::vector<float>(kCols, 1));
  models.push_back(
      b.finish(b.add("y", Op::matmul, {x, b.matrix("w", 2, kCols, ternary_tensor())})));
  for (const TestTarget& target : runnable_targets(Device::host)) {
    const Suite suite = compile({{models.data(), Activations::a16}}, target);
    ASSERT_FALSE(suite.kernels.empty());
    Machine machine(suite.kernels[0], 16);
    const Step step{.mode = Mode::decode, .tokens = {0}};
    Judge(suite.kernels[0]).expect_phases_match(machine.run(step), step);
  }
}

// A router's choice, products of a token with the chosen experts, and of what each of them gave.
TEST_P(Matmul, StackedExperts) {
  std::vector<TestModel> models;
  size_t i = 0;
  const ir::WeightFormat mxfp4{
      .map = ir::CodeMap::fp4, .bits = 4, .group = 32, .scale_type = DType::e8m0};
  const ir::WeightFormat mxfp8{
      .map = ir::CodeMap::fp8, .bits = 8, .group = 32, .scale_type = DType::e8m0};
  for (const ir::WeightFormat& format :
       {affine(3, 64, DType::bf16), affine(4, 32, DType::f16), mxfp4, mxfp8, ternary_tensor()}) {
    ModelBuilder b(fmt::format("experts_{}", i));
    constexpr int64_t kExperts = 7;
    constexpr int64_t kChosen = 3;
    const int64_t inner = 64 * (1 + static_cast<int64_t>(i % 2));
    const auto x = b.rows("x", 192);
    const auto router =
        b.add("router", Op::matmul, {x, b.matrix("r", kExperts, 192, dense(DType::f32))});
    const auto chosen = b.add("chosen", Op::top_k, {router}, {{"k", kChosen}});
    const auto up =
        b.add("up", Op::gather_matmul, {x, chosen, b.stacked("u", kExperts, inner, 192, format)});
    const auto down =
        b.add("down", Op::gather_matmul, {up, chosen, b.stacked("d", kExperts, 23, inner, format)});
    models.push_back(b.finish(down));
    ++i;
  }
  expect_models_match(models, GetParam(), Spread::one_target);
}

// A block of experts as three phases: the router with its choice and the weights of the chosen;
// gate and up with their gating, the norm recomputed; down, summed over the choices and added to
// the residual. More rows than a GPU's block has room for are prepared by a phase of their own.
TEST_P(Matmul, ExpertsAreThreePhases) {
  std::vector<TestModel> models;
  const ir::WeightFormat mxfp8{
      .map = ir::CodeMap::fp8, .bits = 8, .group = 32, .scale_type = DType::e8m0};
  for (const ir::WeightFormat& format : {affine(4, 32, DType::f16), ternary_tensor(), mxfp8}) {
    for (const char* kind : {"softmax", "sigmoid", "sparsemixer"}) {
      const bool sigmoid = kind == std::string("sigmoid");
      const bool mixer = kind == std::string("sparsemixer");
      ModelBuilder b(fmt::format("experts_block_{}", models.size()));
      constexpr int64_t kExperts = 19;
      constexpr int64_t kChosen = 3;
      const int64_t inner = sigmoid ? 96 : 64;
      const auto x = b.rows("x", 160);
      const auto n = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", 160)}, {{"eps", 1e-5}});
      const auto logits =
          b.add("router", Op::matmul, {n, b.matrix("r", kExperts, 160, dense(DType::f32))});
      auto scores = mixer ? logits : b.add("scores", sigmoid ? Op::sigmoid : Op::softmax, {logits});
      const auto choice =
          sigmoid ? b.add("corrected", Op::add, {scores, b.vector("bias", kExperts)}) : scores;
      const auto chosen = b.add("chosen", Op::top_k, {choice}, {{"k", kChosen}});
      auto weights = mixer
                         ? b.add("weights", Op::sparsemixer, {scores, chosen}, {{"margin", 0.7}})
                         : b.add("weights", Op::sum_norm,
                                 {b.add("values", Op::gather, {scores, chosen})}, {{"eps", 1e-20}});
      if (mixer) {
        const auto factors =
            b.add("factors", Op::gather, {b.vector("expert_scale", kExperts, DType::bf16), chosen});
        weights = b.add("scaled", Op::mul, {weights, factors});
      }
      if (sigmoid) weights = b.add("scaled", Op::mul, {weights, b.vector("scale", kChosen)});
      const auto products = [&](const std::string& label, int64_t rows, int64_t cols,
                                ir::ValueId of) {
        return b.add(label, Op::gather_matmul,
                     {of, chosen, b.stacked(label + "_w", kExperts, rows, cols, format)});
      };
      const auto gated = b.add("gated", Op::mul,
                               {b.add("act", Op::silu, {products("gate", inner, 160, n)}),
                                products("up", inner, 160, n)});
      const auto sum =
          b.add("sum", Op::weighted_sum, {products("down", 160, inner, gated), weights});
      models.push_back(b.finish(b.add("end", Op::add, {x, sum})));
      std::vector<std::string> kinds;
      for (const ir::Node& node : models.back().module.nodes) kinds.push_back(node.text("kind"));
      EXPECT_EQ(kinds, (std::vector<std::string>{"embed", "router", "experts", "experts"}))
          << models.back().name;
    }
  }
  expect_models_match(models, GetParam(), Spread::one_target);
}

// A shared MLP of a format of its own beside experts, with a gate of one column: its products share
// the phases of the router and of the experts, so the block has three phases still.
TEST_P(Matmul, SharedMlpsTakeNoPhaseBesideExperts) {
  std::vector<TestModel> models;
  constexpr int64_t kHidden = 96;
  constexpr int64_t kExperts = 19;
  for (const auto& [format, shared] :
       {std::pair(affine(4, 32, DType::f16), affine(8, 32, DType::bf16)),
        std::pair(ternary_tensor(), dense(DType::f16)),
        std::pair(affine(3, 32, DType::f32), affine(3, 32, DType::f32))}) {
    ModelBuilder b(fmt::format("shared_mlp_{}", models.size()));
    const auto x = b.rows("x", kHidden);
    const auto n = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", kHidden)}, {{"eps", 1e-5}});
    const auto product = [&](const std::string& label, int64_t rows, int64_t cols, ir::ValueId of) {
      return b.add(label, Op::matmul, {of, b.matrix(label + "_w", rows, cols, shared)});
    };
    const auto open = b.add("open", Op::sigmoid, {product("shared_gate", 1, kHidden, n)});
    const auto factor = b.add("factor", Op::expand, {open}, {{"width", kHidden}});
    const auto hidden = b.add("shared_gated", Op::mul,
                              {b.add("shared_act", Op::silu, {product("sg", 160, kHidden, n)}),
                               product("su", 160, kHidden, n)});
    const auto beside = b.add("shared", Op::mul, {product("sd", kHidden, 160, hidden), factor});
    const auto scores = b.add(
        "scores", Op::softmax,
        {b.add("router", Op::matmul, {n, b.matrix("r", kExperts, kHidden, dense(DType::f32))})});
    const auto chosen = b.add("chosen", Op::top_k, {scores}, {{"k", int64_t{3}}});
    const auto weights = b.add("values", Op::gather, {scores, chosen});
    const auto products = [&](const std::string& label, int64_t rows, int64_t cols,
                              ir::ValueId of) {
      return b.add(label, Op::gather_matmul,
                   {of, chosen, b.stacked(label + "_w", kExperts, rows, cols, format)});
    };
    const auto gated = b.add("gated", Op::mul,
                             {b.add("act", Op::silu, {products("gate", 64, kHidden, n)}),
                              products("up", 64, kHidden, n)});
    const auto sum =
        b.add("sum", Op::weighted_sum, {products("down", kHidden, 64, gated), weights});
    models.push_back(b.finish(b.add("end", Op::add, {x, b.add("both", Op::add, {sum, beside})})));
    std::vector<passes::Remark> remarks;
    const auto lowering =
        lower(models.back().module, GetParam(), Activations::a8, schedules(), remarks);
    ASSERT_TRUE(lowering.ok()) << lowering.status();
    std::vector<std::string> phases;
    for (const LoweredPhase& phase : lowering->schedules[0].phases) phases.push_back(phase.name);
    EXPECT_EQ(phases.size(), 4U) << fmt::format("{}", fmt::join(phases, ", "));
  }
  expect_models_match(models, GetParam(), Spread::one_target);
}

// A choice that is limited to the best groups of experts, by the best of a group or its best two,
// with more experts than a GPU's block has threads and with fewer; in a router's phase and in one
// of its own.
TEST_P(Matmul, ChoicesAmongTheBestGroups) {
  struct Case {
    int64_t experts, chosen, groups, kept, best;
    bool router = true;
  };
  std::vector<TestModel> models;
  for (const Case& of : {Case{24, 4, 8, 3, 2}, Case{18, 5, 3, 2, 1}, Case{320, 8, 8, 4, 2},
                         Case{512, 6, 64, 5, 1}, Case{12, 3, 4, 1, 3, false}}) {
    ModelBuilder b(fmt::format("groups_{}", models.size()));
    auto scores = b.rows("x", of.router ? 160 : of.experts);
    if (of.router)
      scores =
          b.add("router", Op::matmul, {scores, b.matrix("r", of.experts, 160, dense(DType::f32))});
    const auto ranked = of.router ? b.add("scores", Op::sigmoid, {scores}) : scores;
    const auto chosen = b.add("chosen", Op::top_k, {ranked},
                              {{"k", of.chosen},
                               {"groups", of.groups},
                               {"groups_kept", of.kept},
                               {"group_best", of.best}});
    models.push_back(b.finish(of.router ? b.add("values", Op::gather, {ranked, chosen}) : chosen));
    EXPECT_EQ(models.back().module.nodes.back().text("kind"), of.router ? "router" : "top_k");
  }
  expect_models_match(models, GetParam(), Spread::one_target);
}

TEST_P(Matmul, DenseWeights) {
  std::vector<TestModel> models;
  size_t i = 0;
  for (const int64_t cols : {1, 5, 16, 31, 40, 96, 1000}) {
    models.push_back(product(fmt::format("dense_k{}", cols), cycle(kRows, i + 2), cols,
                             dense(cycle(kScaleTypes, i))));
    ++i;
  }
  models.push_back(product("dense_f32", 33, 40, dense(DType::f32)));
  models.push_back(product("dense_bf16", 7, 31, dense(DType::bf16)));
  expect_models_match(models, GetParam(), Spread::one_target);
}

// So few rows and so many columns that a GPU's blocks share a tile's: two of them, three, two parts
// that meet in an epilogue, columns that do not divide evenly, integers without scales.
TEST_P(Matmul, BlocksThatShareColumns) {
  std::vector<TestModel> models;
  models.push_back(product("columns_2", 33, 4608, affine(4, 64, DType::f16)));
  models.push_back(product("columns_3", 7, 64 * 113, affine(4, 64, DType::bf16)));
  models.push_back(product("columns_8_bits", 16, 4096 + 32, symmetric(8, 128, 32, DType::f16)));
  models.push_back(product("columns_ternary", 17, 128 * 77, ternary_tensor()));
  ModelBuilder g("columns_gated");
  const auto x = g.rows("x", 5120);
  const auto gate =
      g.add("gate", Op::matmul, {x, g.matrix("g_w", 21, 5120, affine(4, 128, DType::f16))});
  const auto up =
      g.add("up", Op::matmul, {x, g.matrix("u_w", 21, 5120, affine(4, 128, DType::f16))});
  models.push_back(g.finish(g.add("act", Op::mul, {g.add("relu2", Op::relu2, {gate}), up})));
  expect_models_match(models, GetParam(), Spread::one_target);
}

// So many rows that a GPU gives a tile to fewer waves, down to one, which then has several steps.
TEST(GpuMatmul, DecodeOfManyRows) {
  std::vector<TestModel> models;
  models.push_back(product("many_dense_4", 8195, 200, dense(DType::f16)));
  models.push_back(product("many_dense_2", 16389, 200, dense(DType::bf16)));
  models.push_back(product("many_dense_1", 32773, 100, dense(DType::f32)));
  models.push_back(product("many_coded_2", 16389, 416, affine(5, 32, DType::f16)));
  models.push_back(product("many_coded_1", 32773, 288, ternary(32, DType::f16)));
  for (const TestTarget& target : runnable_targets(Device::gpu)) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : models) variants.push_back({&model, Activations::a8});
    const Suite suite = compile(variants, target);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      Machine machine(kernels, 16);
      Judge judge(kernels);
      Step step{.mode = Mode::decode, .tokens = {7}, .workers = 5};
      const StepValues few = machine.run(step);
      judge.expect_phases_match(few, step);
      step.workers = 200;
      EXPECT_TRUE(same_bits(machine.run(step), few)) << kernels.name();
    }
  }
}

// rms_norm and the choice of the last rows before a product.
TEST_P(Matmul, Prologues) {
  std::vector<TestModel> models;
  for (const bool norm : {false, true})
    for (const bool last : {false, true})
      for (const bool coded : {false, true}) {
        if (!norm && !last) continue;
        ModelBuilder b(fmt::format("prologue_{}{}{}", norm ? "norm_" : "", last ? "last_" : "",
                                   coded ? "coded" : "dense"));
        const int64_t cols = coded ? 192 : 43;
        auto x = b.rows("x", cols);
        if (last) x = b.add("last", Op::last_rows, {x});
        if (norm)
          x = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", cols, DType::bf16)},
                    {{"eps", 1e-5}});
        const auto w =
            b.matrix("w", 23, cols, coded ? affine(4, 64, DType::f16) : dense(DType::f16));
        models.push_back(b.finish(b.add("y", Op::matmul, {x, w})));
      }
  // Wider than what the threads of a GPU's block hold at a time.
  ModelBuilder wide("prologue_wide");
  auto row = wide.rows("x", 2240);
  row = wide.add("norm", Op::rms_norm, {row, wide.vector("norm_w", 2240)}, {{"eps", 1e-6}});
  const auto format = affine(4, 64, DType::f16);
  models.push_back(
      wide.finish(wide.add("y", Op::matmul, {row, wide.matrix("w", 7, 2240, format)})));
  // Several products share the norm and each computes it.
  ModelBuilder b("prologue_shared");
  const auto x = b.rows("x", 128);
  const auto n = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", 128)}, {{"eps", 1e-6}});
  const auto y =
      b.add("y", Op::matmul, {n, b.matrix("w", 17, 128, symmetric(4, 8, 32, DType::f16))});
  const auto z =
      b.add("z", Op::matmul, {n, b.matrix("v", 17, 128, symmetric(2, 1.5, 32, DType::f16))});
  models.push_back(b.finish(b.add("sum", Op::add, {y, z})));
  expect_models_match(models, GetParam(), Spread::one_target);
}

// Bias, residual and activations, on rows narrower and wider than a vector.
TEST_P(Matmul, Epilogues) {
  std::vector<TestModel> models;
  size_t i = 0;
  for (const Op activation : {Op::silu, Op::gelu, Op::gelu_erf, Op::relu2, Op::sigmoid}) {
    const int64_t width = cycle(kRows, i + 1);
    ModelBuilder b(fmt::format("epilogue_{}", ir::info(activation).name));
    const auto x = b.rows("x", 96);
    const auto residual = b.rows("r", width);
    const ir::WeightFormat format = i % 2 == 0 ? affine(3, 32, DType::f16) : dense(DType::bf16);
    auto y = b.add("y", Op::matmul, {x, b.matrix("w", width, 96, format)});
    y = b.add("bias", Op::add, {y, b.vector("bias_w", width, DType::f16)});
    y = b.add("act", activation, {y});
    y = b.add("gain", Op::mul, {y, b.vector("gain_w", width)});
    models.push_back(b.finish(b.add("sum", Op::add, {residual, y})));
    ++i;
  }
  // A soft cap, and attributes of which one is left out.
  ModelBuilder b("epilogue_soft_cap");
  auto y = b.add("y", Op::matmul, {b.rows("x", 96), b.matrix("w", 33, 96, dense(DType::f16))});
  y = b.add("inverse", Op::mul, {y, b.constant("inverse_w", std::vector<float>(33, 0.125F))});
  y = b.add("tanh", Op::tanh, {y});
  y = b.add("cap", Op::mul, {y, b.constant("cap_w", std::vector<float>(33, 8.0F))});
  y = b.add("most", Op::clamp, {y}, {{"max", 4.5}});
  y = b.add("clamp", Op::clamp, {y}, {{"min", -5.0}, {"max", int64_t{3}}});
  y = b.add("softplus", Op::softplus, {y});
  models.push_back(b.finish(b.add("exp", Op::exp, {y})));
  expect_models_match(models, GetParam());
}

// gate | up: one product in two parts that meet in the epilogue.
TEST_P(Matmul, GatedPartsThatDoNotFillTheirTiles) {
  std::vector<TestModel> models;
  size_t i = 0;
  for (const int64_t width : {1, 15, 16, 24, 33}) {
    ModelBuilder b(fmt::format("gated_{}", width));
    const int64_t cols = 192;
    const ir::WeightFormat formats[] = {symmetric(1, 0.5, 64, DType::f16),
                                        affine(4, 64, DType::bf16), dense(DType::f16)};
    const ir::WeightFormat& format = cycle(formats, i);
    auto x = b.rows("x", cols);
    const auto residual = b.rows("r", width);
    x = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", cols)}, {{"eps", 1e-6}});
    auto gate = b.add("gate", Op::matmul, {x, b.matrix("gate_w", width, cols, format)});
    auto up = b.add("up", Op::matmul, {x, b.matrix("up_w", width, cols, format)});
    if (i % 2 == 1) {
      gate = b.add("gate_b", Op::add, {gate, b.vector("gate_bias", width)});
      up = b.add("up_b", Op::add, {up, b.vector("up_bias", width)});
    }
    gate = b.add("act", Op::silu, {gate});
    const auto gated = b.add("gated", Op::mul, {gate, up});
    models.push_back(b.finish(b.add("sum", Op::add, {residual, gated})));
    const auto is_fused = [](const ir::Node& node) { return node.text("kind", "") == "matmul"; };
    EXPECT_EQ(std::count_if(models.back().module.nodes.begin(), models.back().module.nodes.end(),
                            is_fused),
              1)
        << models.back().name;
    ++i;
  }
  expect_models_match(models, GetParam(), Spread::every_target, 32);
}

// q | k | v of different heights, cut apart by phases of their own.
TEST_P(Matmul, ConcatenatedProductsAreCutApart) {
  std::vector<TestModel> models;
  for (const bool coded : {false, true}) {
    ModelBuilder b(fmt::format("cut_{}", coded ? "coded" : "dense"));
    const int64_t cols = 160;
    const ir::WeightFormat format = coded ? affine(5, 32, DType::f16) : dense(DType::f32);
    const auto x = b.rows("x", cols);
    const auto product_of = [&](const std::string& label, int64_t rows) {
      const auto y = b.add(label, Op::matmul, {x, b.matrix(label + "_w", rows, cols, format)});
      return b.add(label + "_b", Op::add, {y, b.vector(label + "_bias", rows)});
    };
    const auto q = product_of("q", 33);
    const auto k = product_of("k", 7);
    const auto v = product_of("v", 7);
    const auto kv = b.add("kv", Op::mul, {k, v});
    const auto part = b.add("part", Op::slice,
                            {
                                q,
                            },
                            {{"begin", int64_t{19}}, {"end", int64_t{26}}});
    models.push_back(b.finish(b.add("all", Op::add, {kv, part})));
  }
  expect_models_match(models, GetParam(), Spread::every_target, 16);
}

}  // namespace
}  // namespace sinter::codegen::test
