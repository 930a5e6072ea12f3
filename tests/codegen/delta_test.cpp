// Delta rules: against the interpreter, alone and together with what else a phase may hold, in
// steps of one sequence and of many, whichever steps a prompt is cut into.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "ir/ops.h"
#include "tests/codegen/company.h"
#include "tests/codegen/error_bounds.h"
#include "tests/codegen/gpu_code.h"
#include "tests/codegen/several_sequences.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;
using ir::Op;
using ir::ValueId;

class Delta : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Delta, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Delta, ::testing::Values(Device::gpu));

// Heads of k and their features, heads of v and theirs.
struct DeltaShape {
  int64_t key_heads, key_dim, heads, value_dim;

  int64_t keys() const { return key_heads * key_dim; }
  int64_t values() const { return heads * value_dim; }
  std::string name() const {
    return fmt::format("{}x{}_{}x{}", key_heads, key_dim, heads, value_dim);
  }
};

enum class Decay { of_heads, of_features };

// Consecutive parts of the columns of a tensor.
class Parts {
 public:
  Parts(ModelBuilder& b, ValueId rows) : b_(b), rows_(rows) {}
  ValueId next(const std::string& label, int64_t width) {
    const int64_t begin = at_;
    at_ += width;
    return b_.add(label, Op::slice, {rows_}, {{"begin", begin}, {"end", at_}});
  }
  ValueId heads(const std::string& label, int64_t count, int64_t dim) {
    return b_.reshape(label + "_heads", next(label, count * dim), {ir::Dim::of('T'), count, dim});
  }

 private:
  ModelBuilder& b_;
  ValueId rows_;
  int64_t at_ = 0;
};

ValueId state(ModelBuilder& b, const DeltaShape& s) {
  return b.fixed_state("delta_state", {s.heads, s.value_dim, s.key_dim});
}

// Nothing but views around the rule. Keys are about one long.
TestModel plain(const DeltaShape& s, Decay decay = Decay::of_heads) {
  ModelBuilder b(fmt::format("delta_{}{}", s.name(), decay == Decay::of_heads ? "" : "_features"));
  const int64_t decays = s.heads * (decay == Decay::of_heads ? 1 : s.key_dim);
  const int64_t width = 2 * s.keys() + s.values() + decays + s.heads;
  Random random(static_cast<uint64_t>(width));
  std::vector<float> table;
  for (int64_t token = 0; token < kVocabulary; ++token)
    for (int64_t c = 0; c < width; ++c) {
      const bool of_keys = c < 2 * s.keys();
      const bool of_values = !of_keys && c < 2 * s.keys() + s.values();
      const float size = of_keys ? 1.7F / std::sqrt(static_cast<float>(s.key_dim)) : 2.0F;
      table.push_back(of_keys || of_values           ? random.uniform(-size, size)
                      : c < width - s.heads          ? random.uniform(-1.5F, 0.0F)
                      : token % 7 == 0 && c % 2 == 0 ? 0.0F
                                                     : random.uniform(0.0F, 1.0F));
    }
  Parts parts(b, b.rows("x", width, table));
  const ValueId q = parts.heads("q", s.key_heads, s.key_dim);
  const ValueId k = parts.heads("k", s.key_heads, s.key_dim);
  const ValueId v = parts.heads("v", s.heads, s.value_dim);
  const ValueId log_decay = decay == Decay::of_heads ? parts.next("log_decay", s.heads)
                                                     : parts.heads("log_decay", s.heads, s.key_dim);
  const ValueId beta = parts.next("beta", s.heads);
  return b.finish(b.add("delta", Op::delta_rule, {q, k, v, log_decay, beta, state(b, s)}));
}

// What a gated delta net has around it: norms of q and k, a scale of q, gates, and behind the rule
// a norm of every head, and a gate. [q | k | v] is one tensor and [z | b | a] another.
ValueId net(ModelBuilder& b, const DeltaShape& s, ValueId qkv, ValueId zba, DType dtype) {
  Parts of_qkv(b, qkv);
  Parts of_zba(b, zba);
  const auto normed = [&](const std::string& label) {
    return b.add(label + "_norm", Op::l2_norm, {of_qkv.heads(label, s.key_heads, s.key_dim)},
                 {{"eps", 1e-6}});
  };
  const float scale = 1 / std::sqrt(static_cast<float>(s.key_dim));
  const ValueId factors =
      b.constant("scale", std::vector<float>(static_cast<size_t>(s.key_dim), scale));
  const ValueId q = b.add("q_scaled", Op::mul, {normed("q"), factors});
  const ValueId k = normed("k");
  const ValueId v = of_qkv.heads("v", s.heads, s.value_dim);
  const ValueId z = b.add("z_silu", Op::silu, {of_zba.next("z", s.values())});
  const ValueId beta = b.add("beta", Op::sigmoid, {of_zba.next("b", s.heads)});
  std::vector<float> rates;
  for (int64_t h = 0; h < s.heads; ++h) rates.push_back(-0.05F * static_cast<float>(1 + h % 9));
  ValueId log_decay =
      b.add("dt", Op::add, {of_zba.next("a", s.heads), b.vector("dt_bias", s.heads)});
  log_decay = b.add("dt_softplus", Op::softplus, {log_decay});
  log_decay = b.add("log_decay", Op::mul, {log_decay, b.constant("rates", rates)});
  ValueId y = b.add("delta", Op::delta_rule, {q, k, v, log_decay, beta, state(b, s)});
  y = b.add("norm", Op::rms_norm, {y, b.vector("norm_weight", s.value_dim, dtype)},
            {{"eps", 1e-6}});
  return b.add("gated", Op::mul, {b.reshape("flat", y, {ir::Dim::of('T'), s.values()}), z});
}
TestModel net(const DeltaShape& s, DType dtype) {
  ModelBuilder b(fmt::format("delta_net_{}", s.name()));
  const ValueId qkv = b.rows("qkv", 2 * s.keys() + s.values());
  const ValueId zba = b.rows("zba", s.values() + 2 * s.heads);
  return b.finish(net(b, s, qkv, zba, dtype));
}

// Heads that fill no vector, no wave and no block, and several of each.
const std::vector<DeltaShape> kShapes = {{1, 16, 1, 16}, {2, 16, 4, 17}, {1, 37, 3, 64},
                                         {3, 48, 3, 33}, {2, 128, 2, 8}, {1, 20, 2, 70},
                                         {1, 130, 1, 20}};

std::vector<TestModel> delta_models() {
  std::vector<TestModel> all;
  for (const DeltaShape& shape : kShapes) {
    all.push_back(plain(shape));
    EXPECT_EQ(kinds_of(all.back()), (std::vector<std::string>{"embed", "delta"}));
    all.push_back(net(shape, shape.key_dim % 2 == 0 ? DType::f32 : DType::bf16));
    EXPECT_EQ(kinds_of(all.back()), (std::vector<std::string>{"embed", "embed", "delta"}));
  }
  all.push_back(plain({2, 24, 4, 40}, Decay::of_features));
  all.push_back(plain({1, 7, 1, 5}, Decay::of_features));
  return all;
}

TEST_P(Delta, AloneAndWithNormsAndGates) {
  expect_models_match(delta_models(), GetParam(), Spread::one_target);
}

// Its result goes into a product, in whose form a GPU leaves it where heads have whole groups.
TEST_P(Delta, BeforeAProduct) {
  std::vector<TestModel> all;
  for (const DeltaShape& shape :
       {DeltaShape{1, 16, 2, 64}, DeltaShape{2, 16, 4, 128}, DeltaShape{1, 16, 3, 48}}) {
    ModelBuilder b(fmt::format("delta_and_product_{}", shape.name()));
    const ValueId x = b.rows("x", 64);
    const auto project = [&](const std::string& label, int64_t width) {
      return b.add(label, Op::matmul, {x, b.matrix(label, width, 64, affine(4, 32, DType::f16))});
    };
    const ValueId qkv = project("qkv", 2 * shape.keys() + shape.values());
    const ValueId zba = project("zba", shape.values() + 2 * shape.heads);
    const ValueId y = net(b, shape, qkv, zba, DType::f16);
    const int group = shape.value_dim % 32 == 0 ? 32 : 16;
    all.push_back(
        b.finish(b.add("out", Op::matmul,
                       {y, b.matrix("out", 70, shape.values(), affine(4, group, DType::f16))})));
    EXPECT_EQ(kinds_of(all.back()),
              (std::vector<std::string>{"embed", "matmul", "delta", "matmul"}));
  }
  expect_models_match(all, GetParam(), Spread::one_target);
  if (GetParam() == Device::host) return;
  for (const TestModel& model : all) {
    std::vector<passes::Remark> remarks;
    const auto lowering = lower(model.module, Device::gpu, Activations::a8, schedules(), remarks);
    ASSERT_TRUE(lowering.ok()) << lowering.status();
    for (const LoweredSchedule& schedule : lowering->schedules) {
      const bool prepares = std::ranges::any_of(schedule.phases, [](const LoweredPhase& phase) {
        return phase.name.ends_with(".out.input");
      });
      const bool leaves_codes = model.name != all.back().name || schedule.shape.most_rows == 1;
      EXPECT_EQ(prepares, !leaves_codes) << model.name << ", " << schedule.shape.name;
    }
  }
}

// Sequences of one row and of more than a tile has, and more of them than there are workers;
// several steps, so that states are left and found.
TEST_P(Delta, RowsOfManySequences) {
  const std::vector<TestModel> all = {net({2, 16, 4, 40}, DType::f16), plain({1, 20, 3, 16}),
                                      plain({1, 12, 2, 9}, Decay::of_features)};
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : all) variants.push_back({&model, Activations::a8});
    const Suite suite = compile(variants, target, 32);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      SeveralSequences together(kernels, 6);
      for (const int workers : {1, 3, kernels.wave == 0 ? 40 : kPlannedWorkers}) {
        together.run({{4, 2}, {0, 1}, {2, 1}, {5, 9}, {1, 1}, {3, 5}}, Mode::few, workers);
        together.run({{3, 4}, {1, 17}, {0, 7}, {5, 1}}, Mode::few, workers);
        together.run({{2, 30}, {4, 1}, {1, 2}, {0, 8}, {5, 16}, {3, 3}}, Mode::prefill, workers);
        for (int s = 0; s < 6; ++s) together.run({{s, 1}}, Mode::decode, workers);
      }
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Heads of random sizes, several of v to one of k, in random steps of random sequences.
TEST_P(Delta, RandomShapesAndSteps) {
  Random random(17);
  std::vector<TestModel> all;
  for (int i = 0; i < 5; ++i) {
    const int64_t key_heads = 1 + random.below(3);
    const DeltaShape shape{key_heads, 16 + random.below(33), key_heads * (1 + random.below(3)),
                           16 + random.below(49)};
    all.push_back(i % 2 == 0 ? net(shape, DType::f32) : plain(shape));
  }
  const std::vector<TestTarget> targets = runnable_targets(GetParam());
  for (size_t t = 0; t < targets.size(); ++t) {
    SCOPED_TRACE(targets[t].target.name);
    std::vector<Variant> variants;
    for (size_t i = 0; i < all.size(); ++i)
      if (GetParam() == Device::host || i % targets.size() == t)
        variants.push_back({&all[i], Activations::a8});
    const Suite suite = compile(variants, targets[t]);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      SeveralSequences(kernels, 4).run_random(random, kernels.wave);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Whichever steps a prompt is read in, every row and what is left are the same: to the bit, or
// where matrix units multiply chunks of 16 rows, but for 2^-17 of the largest number. A product of
// theirs is off by 2^-19, and roundings of a row are lengthened by none that follows.
TEST_P(Delta, ChunksDoNotMatter) {
  const TestModel model = net({2, 32, 4, 48}, DType::f32);
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    const Suite suite = compile({{&model, Activations::a8}}, target);
    ASSERT_FALSE(suite.kernels.empty());
    const Kernels& kernels = suite.kernels.front();
    Random random(3);
    const std::vector<int32_t> tokens = random_tokens(41, random);
    const ValueId result = model.module.returns[0];
    // Rows of the result, and the state.
    const auto read = [&](const std::vector<size_t>& cuts) {
      Machine machine(kernels, page_positions);
      std::array<std::vector<float>, 2> all;
      size_t begin = 0;
      for (const size_t end : cuts) {
        Step step{.mode = end - begin == 1  ? Mode::decode
                          : end - begin < 9 ? Mode::few
                                            : Mode::prefill,
                  .tokens = {tokens.begin() + static_cast<ptrdiff_t>(begin),
                             tokens.begin() + static_cast<ptrdiff_t>(end)},
                  .position = static_cast<int64_t>(begin),
                  .workers = 3};
        const StepValues got = machine.run(step);
        all[0].insert(all[0].end(), got.at(result).data.begin(), got.at(result).data.end());
        begin = end;
      }
      all[1] = machine.fixed_states().begin()->second.data;
      return all;
    };
    const auto whole = read({41});
    for (const std::vector<size_t>& cuts : std::vector<std::vector<size_t>>{
             {40, 41}, {9, 10, 17, 33, 41}, {1, 2, 3, 11, 19, 41}, {16, 32, 41}}) {
      const auto parts = read(cuts);
      for (const size_t i : {size_t{0}, size_t{1}}) {
        const auto [least, most] = std::ranges::minmax(whole[i]);
        const float off = target.wave == 32 ? 0x1p-17F * std::max(-least, most) : 0.0F;
        ASSERT_EQ(parts[i].size(), whole[i].size());
        for (size_t n = 0; n < whole[i].size(); ++n)
          ASSERT_NEAR(parts[i][n], whole[i][n], off) << (i == 0 ? "result " : "state ") << n;
      }
    }
  }
}

// As machine code, which nothing here can run, in the sizes of Qwen3.5 and Bonsai of 27 billion
// parameters, of smaller ones, and with a decay for every feature.
TEST(GpuDelta, CompilesForEveryFamily) {
  const std::vector<std::string_view> targets = {"sm_80", "gfx1100", "gfx942"};
  expect_gpu_code(net({16, 128, 48, 128}, DType::f32), targets);
  expect_gpu_code(plain({16, 128, 32, 128}, Decay::of_features), targets);
}

}  // namespace
}  // namespace sinter::codegen::test
