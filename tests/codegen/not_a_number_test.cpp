// NaN and infinity: what is no number on its way into a product or into the caches is none in any
// result that depends on it, and what does not depend on it is as without.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops.h"
#include "ir/state_format.h"
#include "tests/codegen/error_bounds.h"

namespace sinter::codegen::test {
namespace {

using ir::DType;
using ir::Op;
using ir::ValueId;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of a table by token: those below kFirstBad are numbers, then come rows with one element that
// is none, or whose squares have no sum.
constexpr int32_t kFirstBad = 8;
constexpr float kBad[] = {kNan, -kNan, kInfinity, -kInfinity, 3e38F};
constexpr int32_t kBads = std::size(kBad);

std::vector<float> table_with(int64_t width, const std::vector<float>& bad, int64_t at) {
  Random random(static_cast<uint64_t>(width));
  std::vector<float> values(static_cast<size_t>(kVocabulary * width));
  for (float& value : values) value = random.uniform(-1.5F, 1.5F);
  for (size_t i = 0; i < bad.size(); ++i)
    values[(static_cast<size_t>(kFirstBad) + i) * static_cast<size_t>(width) +
           static_cast<size_t>((at + static_cast<int64_t>(i) * 37) % width)] = bad[i];
  return values;
}

std::vector<float> row_of(const StepValues& values, ValueId id, int64_t row) {
  const ir::Array& array = values.at(id);
  const auto width = array.data.size() / static_cast<size_t>(array.shape[0]);
  const auto begin = array.data.begin() + row * static_cast<ptrdiff_t>(width);
  return {begin, begin + static_cast<ptrdiff_t>(width)};
}
bool all_finite(const std::vector<float>& row) {
  return std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); });
}
bool none_finite(const std::vector<float>& row) {
  return std::none_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); });
}

class NotANumber : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, NotANumber, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, NotANumber, ::testing::Values(Device::gpu));

TEST_P(NotANumber, GoesThroughProducts) {
  const ir::WeightFormat nvfp4{
      .map = ir::CodeMap::fp4, .bits = 4, .group = 16, .scale_type = DType::e4m3};
  std::vector<TestModel> models;
  const auto add = [&](const ir::WeightFormat& format, bool norm, Op activation) {
    ModelBuilder b(fmt::format("bad_product_{}", models.size()));
    constexpr int64_t kCols = 192;
    auto x = b.rows("x", kCols, table_with(kCols, {std::begin(kBad), std::end(kBad)}, 5));
    if (norm) x = b.add("norm", Op::rms_norm, {x, b.vector("norm_w", kCols)}, {{"eps", 1e-6}});
    const auto y = b.add("y", Op::matmul, {x, b.matrix("w", 33, kCols, format)});
    models.push_back(b.finish(b.add("act", activation, {y})));
  };
  add(affine(4, 64, DType::f16), false, Op::silu);
  add(symmetric(1, 0.5, 64, DType::f16), true, Op::relu2);
  add(ternary_tensor(), false, Op::relu2);
  add(ternary_tensor(), true, Op::sigmoid);
  add(nvfp4, false, Op::gelu);
  add(affine(8, 32, DType::bf16), true, Op::sigmoid);
  add(dense(DType::f16), true, Op::relu2);
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : models)
      for (const Activations activations : {Activations::a8, Activations::a16})
        variants.push_back({&model, activations});
    const Suite suite = compile(variants, target);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      Machine machine(kernels, 16);
      const ValueId result = kernels.model->module.returns[0];
      const auto norm = kernels.model->module.find_symbol(kernels.model->name + ".norm_w") >= 0;
      // 3e38 is a number, whose square is none.
      const int32_t bads = norm ? kBads : kBads - 1;
      Step step{.mode = Mode::prefill, .tokens = {}};
      for (int32_t i = 0; i < bads; ++i) {
        step.tokens.push_back(i);
        step.tokens.push_back(kFirstBad + i);
      }
      step.logits_rows = step.count();
      const StepValues together = machine.run(step);
      for (int64_t row = 0; row < step.count(); ++row) {
        const Step one{.mode = Mode::decode, .tokens = {step.tokens[static_cast<size_t>(row)]}};
        const std::vector<float> decoded = row_of(machine.run(one), result, 0);
        const std::vector<float> prefilled = row_of(together, result, row);
        const bool bad = one.tokens[0] >= kFirstBad;
        const std::string what = fmt::format("{}, token {}", kernels.name(), one.tokens[0]);
        EXPECT_TRUE(bad ? none_finite(decoded) : all_finite(decoded)) << what;
        EXPECT_TRUE(bad ? none_finite(prefilled) : all_finite(prefilled)) << what;
      }
    }
  }
}

// Ops by row spread it over the row, elementwise ones leave it where it is.
TEST_P(NotANumber, GoesThroughRows) {
  constexpr int64_t kCols = 100, kAt = 5;
  struct Case {
    Op op;
    ir::Attributes attributes;
    int32_t bads;  // how many of kBad are none in the result
  };
  const std::vector<Case> cases = {{Op::layer_norm, {{"eps", 1e-6}}, kBads},
                                   {Op::l2_norm, {{"eps", 1e-6}}, kBads},
                                   {Op::softmax, {}, 3},
                                   {Op::tanh, {}, 2},
                                   {Op::softplus, {}, 3},
                                   {Op::exp, {}, 3},
                                   {Op::mean, {}, 3},
                                   {Op::clamp, {{"min", -1.0}}, 3}};
  std::vector<TestModel> models;
  for (const Case& c : cases) {
    ModelBuilder b(fmt::format("bad_{}", ir::info(c.op).name));
    std::vector<ValueId> operands = {
        b.rows("x", kCols, table_with(kCols, {std::begin(kBad), std::end(kBad)}, kAt))};
    if (c.op == Op::layer_norm) operands.push_back(b.vector("w", kCols));
    models.push_back(b.finish(b.add("y", c.op, operands, c.attributes)));
  }
  for (const TestTarget& target : runnable_targets(GetParam())) {
    SCOPED_TRACE(target.target.name);
    std::vector<Variant> variants;
    for (const TestModel& model : models) variants.push_back({&model, Activations::a8});
    const Suite suite = compile(variants, target);
    ASSERT_FALSE(suite.kernels.empty());
    for (size_t m = 0; m < models.size(); ++m) {
      Machine machine(suite.kernels[m], 16);
      for (int32_t bad = 0; bad < cases[m].bads; ++bad) {
        const StepValues values = machine.run({.mode = Mode::decode, .tokens = {kFirstBad + bad}});
        const std::vector<float> row = row_of(values, models[m].module.returns[0], 0);
        const std::string what = fmt::format("{}, {}", models[m].name, kBad[bad]);
        if (ir::is_by_row(cases[m].op)) {
          EXPECT_TRUE(none_finite(row)) << what;
        } else {
          const auto at = static_cast<size_t>((kAt + bad * 37) % kCols);
          EXPECT_FALSE(std::isfinite(row[at])) << what;
          EXPECT_EQ(std::count_if(row.begin(), row.end(), [](float x) { return std::isfinite(x); }),
                    kCols - 1)
              << what;
        }
      }
    }
  }
}

// One KV head, whose keys and values every query head sees. With options: sinks and capped scores.
void expect_stays_in_caches(const ir::StateFormat& format, Device device, bool options) {
  constexpr int64_t kHeads = 3, kDim = 32;
  // Columns of q | k | v; the smallest number that the cache cannot hold, and the next below it:
  // the scale of codes is their largest number, as float16.
  const float most = format.dtype == ir::DType::f32 ? kInfinity : 65520;
  const float below = std::nextafter(most, 0.0F);
  struct Case {
    int64_t column;
    float value;
    bool in_cache, is_number;
  };
  constexpr int64_t kKey = kHeads * kDim, kValue = kKey + kDim;
  std::vector<Case> cases = {{kKey + 3, kNan, true, false},
                             {kKey + 4, -kInfinity, true, false},
                             {kKey + 6, most, true, false},
                             {kValue + 3, kNan, true, false},
                             {kValue + 9, kInfinity, true, false},
                             {kValue + 11, -most, true, false},
                             {5, kNan, false, false}};
  if (most < kInfinity)
    cases.insert(cases.end(), {{kKey + 7, below, true, true}, {kValue + 12, -below, true, true}});
  ModelBuilder b(
      fmt::format("bad_attention_{}{}", ir::name(format.dtype), options ? "_options" : ""));
  constexpr int64_t kWidth = kValue + kDim;
  std::vector<float> table = table_with(kWidth, {}, 0);
  for (size_t i = 0; i < cases.size(); ++i)
    table[(static_cast<size_t>(kFirstBad) + i) * static_cast<size_t>(kWidth) +
          static_cast<size_t>(cases[i].column)] = cases[i].value;
  const ValueId qkv = b.rows("qkv", kWidth, table);
  const auto part = [&](const std::string& name, int64_t begin, int64_t heads) {
    const auto x = b.add(name, Op::slice, {qkv}, {{"begin", begin}, {"end", begin + heads * kDim}});
    return b.reshape(name, x, {ir::Dim::of('T'), heads, kDim});
  };
  const ValueId q = part("q", 0, kHeads), k = part("k", kKey, 1), v = part("v", kValue, 1);
  const ValueId keys = b.state("keys", 1, kDim, format.dtype);
  const ValueId values = b.state("values", 1, kDim, format.dtype);
  b.add("append_k", Op::kv_append, {keys, k});
  b.add("append_v", Op::kv_append, {values, v});
  std::vector<ValueId> operands = {q, keys, values};
  if (options) operands.push_back(b.vector("sinks", kHeads));
  const TestModel model = b.finish(b.add("attention", Op::attention, operands,
                                         {{"scale", 0.01}, {"softcap", options ? 30.0 : 0.0}}));
  // Of a row: as many heads as are none are whole heads for q, else all.
  const auto is_bad = [](const std::vector<float>& row, const Case& c) {
    if (c.in_cache)
      return std::all_of(row.begin(), row.end(), [](float x) { return !std::isfinite(x); });
    return std::none_of(row.begin(), row.begin() + kDim, [](float x) { return std::isfinite(x); });
  };
  for (const TestTarget& target : runnable_targets(device)) {
    SCOPED_TRACE(target.target.name);
    const Suite suite = compile({{&model, Activations::a8}}, target);
    ASSERT_FALSE(suite.kernels.empty());
    const Kernels& kernels = suite.kernels[0];
    const ValueId result = kernels.model->module.returns[0];
    for (size_t i = 0; i < cases.size(); ++i) {
      const Case& c = cases[i];
      const int32_t bad = kFirstBad + static_cast<int32_t>(i);
      // In a prefill step, then far behind one, so that several splits and blocks of scores see it;
      // and written by a decode step.
      Machine machine(kernels, 160);
      Step step{.mode = Mode::prefill, .tokens = {1, 2, bad, 3, 4}, .logits_rows = 5, .workers = 3};
      const StepValues first = machine.run(step);
      const bool stays = c.in_cache && !c.is_number;
      const auto expect = [&](const StepValues& got, int64_t row, bool none, const char* where) {
        const std::vector<float> numbers = row_of(got, result, row);
        const std::string what =
            fmt::format("{}: column {} is {}, {}", kernels.name(), c.column, c.value, where);
        if (!none) EXPECT_TRUE(all_finite(numbers)) << what;
        // A value may be one feature of many.
        if (none && (c.column < kValue)) EXPECT_TRUE(is_bad(numbers, c)) << what;
        if (none) EXPECT_FALSE(all_finite(numbers)) << what;
      };
      expect(first, 2, !c.is_number, "its own row of a prefill step");
      expect(first, 4, stays, "a later row of it");
      step = {.mode = Mode::prefill, .tokens = {}, .position = 5, .workers = 2};
      for (int32_t t = 0; t < 120; ++t) step.tokens.push_back(t % kFirstBad);
      step.logits_rows = step.count();
      expect(machine.run(step), 119, stays, "a later prefill step");
      step = {.mode = Mode::decode, .tokens = {3}, .position = 125, .workers = 4};
      expect(machine.run(step), 0, stays, "a later decode step");

      Machine decoder(kernels, 32);
      step = {.mode = Mode::decode, .tokens = {2}};
      expect(decoder.run(step), 0, false, "a decode step before");
      step = {.mode = Mode::decode, .tokens = {bad}, .position = 1};
      expect(decoder.run(step), 0, !c.is_number, "its own decode step");
      step = {.mode = Mode::decode, .tokens = {4}, .position = 2};
      expect(decoder.run(step), 0, stays, "the decode step after it");
    }
  }
}

TEST_P(NotANumber, StaysInTheCaches) {
  for (const ir::StateFormat& format : ir::kStateFormats)
    for (const bool options : {false, true}) expect_stays_in_caches(format, GetParam(), options);
}

// A router whose scores are no numbers still names experts that there are.
TEST_P(NotANumber, ChoosesExpertsThatAreThere) {
  constexpr int64_t kExperts = 5;
  ModelBuilder b("bad_router");
  std::vector<float> table = table_with(kExperts, {}, 0);
  std::fill_n(table.begin() + kFirstBad * kExperts, kExperts, kNan);
  for (int64_t i = 0; i < kExperts; ++i)
    table[static_cast<size_t>((kFirstBad + 1) * kExperts + i)] = i == 1 ? 2.0F : kNan;
  const ValueId x = b.rows("x", kExperts, table);
  const TestModel model = b.finish(b.add("chosen", Op::top_k, {x}, {{"k", int64_t{3}}}));
  for (const TestTarget& target : runnable_targets(GetParam())) {
    const Suite suite = compile({{&model, Activations::a8}}, target);
    ASSERT_FALSE(suite.kernels.empty());
    Machine machine(suite.kernels[0], 16);
    const Step step{.mode = Mode::prefill, .tokens = {kFirstBad, kFirstBad + 1}, .workers = 2};
    const StepValues got = machine.run(step);
    for (int64_t row = 0; row < 2; ++row) {
      std::vector<float> chosen = row_of(got, suite.kernels[0].model->module.returns[0], row);
      if (row == 1 && GetParam() == Device::gpu) EXPECT_EQ(chosen[0], 1);
      std::sort(chosen.begin(), chosen.end());
      EXPECT_TRUE(std::adjacent_find(chosen.begin(), chosen.end()) == chosen.end());
      EXPECT_TRUE(chosen.front() >= 0 && chosen.back() < kExperts);
    }
  }
}

}  // namespace
}  // namespace sinter::codegen::test
