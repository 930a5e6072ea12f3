// Selective scans: against the interpreter, alone and together with what else a phase may hold, in
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

using ir::Dim;
using ir::DType;
using ir::Op;
using ir::ValueId;

class Scan : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Scan, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Scan, ::testing::Values(Device::gpu));

// Heads of x and their features, groups of b and c and their columns.
struct ScanShape {
  int64_t heads, head_dim, groups, columns;

  int64_t channels() const { return heads * head_dim; }
  int64_t shared() const { return groups * columns; }
  std::string name() const { return fmt::format("{}x{}_{}x{}", heads, head_dim, groups, columns); }
};

enum class Rates { of_heads, of_columns };

ValueId rates(ModelBuilder& b, const ScanShape& s, Rates of) {
  std::vector<float> numbers;
  const int64_t count = s.heads * (of == Rates::of_heads ? 1 : s.columns);
  for (int64_t i = 0; i < count; ++i) numbers.push_back(-0.1F * static_cast<float>(1 + i % 11));
  return b.constant("rates", numbers);
}
ValueId state(ModelBuilder& b, const ScanShape& s) {
  return b.fixed_state("scan_state", {s.heads, s.head_dim, s.columns});
}

// Columns of a tensor as a tensor of heads.
ValueId part(ModelBuilder& b, const std::string& label, ValueId rows, int64_t begin, int64_t count,
             int64_t dim) {
  const ValueId columns =
      b.add(label, Op::slice, {rows}, {{"begin", begin}, {"end", begin + count * dim}});
  return b.reshape(label + "_heads", columns, {Dim::of('T'), count, dim});
}

// Nothing but views around the scan, which has no steps: what lightning attention is.
TestModel plain(const ScanShape& s) {
  ModelBuilder b(fmt::format("scan_{}", s.name()));
  const ValueId x = b.rows("x", s.channels() + 2 * s.shared());
  const ValueId v = part(b, "v", x, 0, s.heads, s.head_dim);
  const ValueId k = part(b, "k", x, s.channels(), s.groups, s.columns);
  const ValueId q = part(b, "q", x, s.channels() + s.shared(), s.groups, s.columns);
  return b.finish(
      b.add("scan", Op::selective_scan, {v, rates(b, s, Rates::of_heads), k, q, state(b, s)}));
}

// What state spaces have around it: steps that become positive within limits, skips, a gate; Jamba
// norms of b and c. [x | b | c] is one tensor and [z | dt] another.
ValueId net(ModelBuilder& b, const ScanShape& s, ValueId xbc, ValueId zdt, Rates of, bool norms,
            DType dtype) {
  const ValueId x = part(b, "x", xbc, 0, s.heads, s.head_dim);
  const auto group = [&](const std::string& label, int64_t begin) {
    const ValueId heads = part(b, label, xbc, begin, s.groups, s.columns);
    return norms ? b.add(label + "_norm", Op::rms_norm,
                         {heads, b.vector(label + "_weight", s.columns, dtype)}, {{"eps", 1e-6}})
                 : heads;
  };
  const ValueId in = group("b", s.channels());
  const ValueId out = group("c", s.channels() + s.shared());
  const ValueId z = b.add("z_slice", Op::slice, {zdt}, {{"begin", 0}, {"end", s.channels()}});
  ValueId dt = b.add("dt_slice", Op::slice, {zdt},
                     {{"begin", s.channels()}, {"end", s.channels() + s.heads}});
  dt = b.add("dt_biased", Op::add, {dt, b.vector("dt_bias", s.heads)});
  dt = b.add("dt_softplus", Op::softplus, {dt});
  dt = b.add("dt", Op::clamp, {dt}, {{"min", 0.3}, {"max", 1.5}});
  ValueId y = b.add("scan", Op::selective_scan,
                    {x, rates(b, s, of), in, out, state(b, s), dt, b.vector("d", s.heads, dtype)});
  y = b.reshape("flat", y, {Dim::of('T'), s.channels()});
  return b.add("gated", Op::mul, {y, b.add("z_silu", Op::silu, {z})});
}
TestModel net(const ScanShape& s, Rates of, bool norms, DType dtype) {
  ModelBuilder b(fmt::format("scan_net_{}{}{}", s.name(), of == Rates::of_columns ? "_columns" : "",
                             norms ? "_norms" : ""));
  const ValueId xbc = b.rows("xbc", s.channels() + 2 * s.shared());
  const ValueId zdt = b.rows("zdt", s.channels() + s.heads);
  return b.finish(net(b, s, xbc, zdt, of, norms, dtype));
}

// Mamba-2: heads that fill no vector and no block, groups that end within one, and several of each.
const std::vector<ScanShape> kHeads = {{1, 16, 1, 16}, {4, 17, 2, 37}, {3, 64, 1, 20},
                                       {6, 5, 3, 130}, {2, 8, 2, 128}, {4, 20, 4, 20},
                                       {40, 3, 1, 48}, {2, 33, 2, 256}};
// Mamba: channels.
const std::vector<ScanShape> kChannels = {{64, 1, 1, 16}, {130, 1, 1, 8}, {24, 1, 2, 33}};

std::vector<TestModel> scan_models() {
  std::vector<TestModel> all;
  const auto add = [&](TestModel model, std::vector<std::string> wanted) {
    EXPECT_EQ(kinds_of(model), wanted) << model.name;
    all.push_back(std::move(model));
  };
  for (const ScanShape& shape : kHeads) {
    add(plain(shape), {"embed", "scan"});
    add(net(shape, Rates::of_heads, shape.columns % 2 == 0 && shape.heads == 4,
            shape.columns % 16 == 0 ? DType::f32 : DType::bf16),
        {"embed", "embed", "scan"});
  }
  for (const ScanShape& shape : kChannels) {
    add(net(shape, Rates::of_columns, true, DType::f16), {"embed", "embed", "scan"});
    add(net(shape, Rates::of_columns, false, DType::bf16), {"embed", "embed", "scan"});
  }
  return all;
}

TEST_P(Scan, AloneAndWithStepsAndGates) {
  expect_models_match(scan_models(), GetParam(), Spread::one_target);
}

// Sequences of one row and of more than a tile has, and more of them than there are workers;
// several steps, so that states are left and found.
TEST_P(Scan, RowsOfManySequences) {
  const std::vector<TestModel> all = {net({4, 24, 2, 20}, Rates::of_heads, false, DType::f16),
                                      net({40, 1, 1, 16}, Rates::of_columns, true, DType::f32),
                                      plain({3, 20, 3, 24})};
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
        together.run({{2, 30}, {4, 1}, {1, 2}, {0, 8}, {5, 17}, {3, 3}}, Mode::prefill, workers);
        for (int s = 0; s < 6; ++s) together.run({{s, 1}}, Mode::decode, workers);
      }
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Heads and groups of random sizes in random steps of random sequences.
TEST_P(Scan, RandomShapesAndSteps) {
  Random random(23);
  std::vector<TestModel> all;
  for (int i = 0; i < 5; ++i) {
    const int64_t groups = 1 + random.below(3);
    const ScanShape shape{groups * (1 + random.below(5)), 1 + random.below(i % 2 == 0 ? 1 : 40),
                          groups, 1 + random.below(49)};
    all.push_back(net(shape, i % 2 == 0 ? Rates::of_columns : Rates::of_heads, i == 2, DType::f32));
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

// Whichever steps a prompt is read in, every row and what is left are the same to the bit.
TEST_P(Scan, ChunksDoNotMatter) {
  const std::vector<TestModel> all = {net({4, 24, 2, 32}, Rates::of_heads, false, DType::f32),
                                      net({70, 1, 1, 16}, Rates::of_columns, false, DType::f32)};
  for (const TestTarget& target : runnable_targets(GetParam()))
    for (const TestModel& model : all) {
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
        std::array<std::vector<float>, 2> numbers;
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
          numbers[0].insert(numbers[0].end(), got.at(result).data.begin(),
                            got.at(result).data.end());
          begin = end;
        }
        numbers[1] = machine.fixed_states().begin()->second.data;
        return numbers;
      };
      const auto whole = read({41});
      for (const std::vector<size_t>& cuts : std::vector<std::vector<size_t>>{
               {40, 41}, {9, 10, 17, 33, 41}, {1, 2, 3, 11, 19, 41}, {16, 32, 41}}) {
        const auto parts = read(cuts);
        EXPECT_EQ(parts[0], whole[0]);
        EXPECT_EQ(parts[1], whole[1]);
      }
    }
}

// As machine code, which nothing here can run, in the sizes of Mamba of 2.8 billion parameters,
// Falcon-H1 of 34, Nemotron-H of 56 and MiniMax-Text-01.
TEST(GpuScan, CompilesForEveryFamily) {
  const std::vector<std::string_view> targets = {"sm_80", "gfx1100", "gfx942"};
  expect_gpu_code(net({5120, 1, 1, 16}, Rates::of_columns, false, DType::bf16), targets);
  expect_gpu_code(net({32, 128, 2, 256}, Rates::of_heads, false, DType::bf16), targets);
  expect_gpu_code(net({256, 64, 8, 256}, Rates::of_heads, false, DType::bf16), targets);
  expect_gpu_code(plain({64, 128, 64, 128}), targets);
}

}  // namespace
}  // namespace sinter::codegen::test
