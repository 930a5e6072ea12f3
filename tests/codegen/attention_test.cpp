// Attention with its norms, rotations and caches: prefill in chunks and decode, across the
// boundaries of the blocks in which keys and scores are held, split among any number of workers.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops.h"
#include "ir/state_format.h"
#include "tests/codegen/attention_judge.h"
#include "tests/codegen/attention_models.h"
#include "tests/codegen/company.h"
#include "tests/codegen/error_bounds.h"

namespace sinter::codegen::test {
namespace {

using ir::Op;
using ir::ValueId;

struct Shape {
  int64_t heads = 1, kv_heads = 1, head_dim = 16;
  bool norm = false;
  int64_t rope_dims = 0;  // 0: no rotation
  bool interleaved = false;
  int64_t rope_begin = 0;
  ir::DType format = ir::DType::f16;  // of the caches
  int64_t v_head_dim = 0;             // 0: values are as wide as keys
  int64_t window = 0;                 // 0: none
  bool ring = false;                  // no more than the window is kept
  std::optional<ir::DType> sinks = {};
  double softcap = 0;  // 0: none
  int64_t chunk = 0;   // 0: none

  int64_t value_width() const { return v_head_dim == 0 ? head_dim : v_head_dim; }
  std::string name() const {
    return fmt::format("attention_h{}_kv{}_d{}_{}{}_r{}{}_{}_{}_w{}{}{}_c{}_{}", heads, kv_heads,
                       head_dim, value_width(), norm ? "_norm" : "", rope_dims,
                       interleaved ? "i" : "", rope_begin, ir::name(format), window,
                       ring ? "_ring" : "", sinks ? "_sinks" : "", softcap, chunk);
  }
};

// Below and above the scores, and among them.
ValueId sinks_of(ModelBuilder& b, const std::string& label, int64_t heads, ir::DType dtype) {
  if (dtype != ir::DType::f32) return b.vector(label, heads, dtype);
  std::vector<float> sinks;
  for (int64_t h = 0; h < heads; ++h) {
    constexpr float kSinks[] = {0.5F, 40.0F, -2.5F, 4.0F, -60.0F};
    sinks.push_back(kSinks[h % std::ssize(kSinks)]);
  }
  return b.constant(label, sinks);
}

// q, k and v cut from one tensor, as after a concatenated product.
ValueId add_attention(ModelBuilder& b, const std::string& prefix, const Shape& s) {
  const auto label = [&](const char* name) { return prefix + name; };
  const ValueId qkv =
      b.rows(label("qkv"), (s.heads + s.kv_heads) * s.head_dim + s.kv_heads * s.value_width());
  ValueId table = -1;
  if (s.rope_dims > 0) {
    std::vector<float> frequencies;
    for (int64_t i = 0; i < s.rope_dims / 2; ++i)
      frequencies.push_back(static_cast<float>(
          std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(s.rope_dims))));
    table = b.add(label("table"), Op::rope_table,
                  {b.constant(label("frequencies"), frequencies), b.tokens()});
  }
  int64_t begin = 0;
  const auto part = [&](const std::string& name, int64_t heads, bool transformed) {
    const int64_t width = transformed ? s.head_dim : s.value_width();
    const int64_t end = begin + heads * width;
    ValueId x = b.add(name, Op::slice, {qkv}, {{"begin", begin}, {"end", end}});
    begin = end;
    x = b.reshape(name, x, {ir::Dim::of('T'), heads, width});
    if (!transformed) return x;
    if (s.norm)
      x = b.add(name, Op::rms_norm, {x, b.vector(name + "_norm", s.head_dim)}, {{"eps", 1e-6}});
    if (s.rope_dims > 0)
      x = b.add(name, Op::rope, {x, table},
                {{"style", std::string(s.interleaved ? "interleaved" : "half")},
                 {"begin", s.rope_begin}});
    return x;
  };
  const ValueId q = part(label("q"), s.heads, true);
  const ValueId k = part(label("k"), s.kv_heads, true);
  const ValueId v = part(label("v"), s.kv_heads, false);
  const auto cache = [&](const char* name, int64_t width) {
    return s.ring ? b.ring(label(name), s.kv_heads, s.window + s.chunk, width, s.format)
                  : b.state(label(name), s.kv_heads, width, s.format);
  };
  const ValueId keys = cache("keys", s.head_dim);
  const ValueId values = cache("values", s.value_width());
  b.add(label("append_k"), Op::kv_append, {keys, k});
  b.add(label("append_v"), Op::kv_append, {values, v});
  std::vector<ValueId> operands = {q, keys, values};
  if (s.sinks) operands.push_back(sinks_of(b, label("sinks"), s.heads, *s.sinks));
  return b.add(label("attention"), Op::attention, operands,
               {{"scale", 1 / std::sqrt(static_cast<double>(s.head_dim))},
                {"window", s.window},
                {"chunk", s.chunk},
                {"softcap", s.softcap}});
}

struct Stretch {
  Mode mode;
  int64_t tokens;
};

// Splits are counted, a number for each KV head at the end of their buffer, and the last one resets
// the count.
// What phases count with and hand over is zero when they have ended.
void expect_pinned_is_zero(const Kernels& kernels, const Machine& machine) {
  // The host has a counter of every KV head where a buffer ends.
  size_t counters = std::numeric_limits<size_t>::max();
  for (const ir::Node& node : kernels.model->module.nodes) {
    if (node.text("kind", "") != "attention") continue;
    const ValueId keys = node.body.back().operands[1];
    const auto heads = static_cast<size_t>(kernels.model->module.tensor(keys).shape[0].value);
    counters = std::min(counters, heads * 4);
  }
  size_t buffers = 0;
  for (const LoweredPhase& phase : kernels.schedule(Mode::decode).phases)
    for (const Buffer& buffer : phase.arguments) {
      if (buffer.kind != Buffer::Kind::pinned) continue;
      std::span<const uint8_t> words = machine.pinned(buffer.value);
      if (kernels.device() == Device::host) words = words.last(counters);
      EXPECT_EQ(std::ranges::count(words, 0), static_cast<ptrdiff_t>(words.size()))
          << kernels.name() << ": " << phase.name;
      ++buffers;
    }
  EXPECT_GT(buffers, 0U) << kernels.name();
}

std::vector<uint8_t> states_of(Machine& machine) {
  std::vector<uint8_t> all(machine.pages().begin(), machine.pages().end());
  all.insert(all.end(), machine.fixed().begin(), machine.fixed().end());
  return all;
}

// Runs one sequence. Every step is run again with other numbers of workers: it appends the same
// rows again.
void expect_sequence_matches(const Kernels& kernels, const std::vector<Stretch>& stretches) {
  const std::vector<std::pair<int, Order>> on_host = {
      {1, Order::ascending},  {2, Order::descending}, {3, Order::threads},    {4, Order::ascending},
      {5, Order::descending}, {7, Order::ascending},  {8, Order::descending}, {16, Order::threads},
      {33, Order::ascending}, {64, Order::descending}};
  const std::vector<std::pair<int, Order>> on_gpu = {{1, Order::ascending},
                                                     {5, Order::descending},
                                                     {kPlannedWorkers, Order::ascending},
                                                     {300, Order::descending}};
  int64_t length = 0;
  for (const Stretch& stretch : stretches) length += stretch.tokens;
  Machine machine(kernels, length + 1);
  AttentionJudge attention(kernels);
  Judge judge(kernels);
  Random random(11);
  int64_t position = 0;
  for (const Stretch& stretch : stretches) {
    const bool decode = stretch.mode == Mode::decode;
    for (int64_t done = 0; done < stretch.tokens; done += decode ? 1 : stretch.tokens) {
      Step step{.mode = stretch.mode, .tokens = random_tokens(decode ? 1 : stretch.tokens, random)};
      step.position = position;
      StepValues alone;
      std::vector<uint8_t> states;
      for (const auto& [workers, order] : kernels.device() == Device::host ? on_host : on_gpu) {
        step.workers = workers;
        step.order = order;
        const StepValues got = machine.run(step);
        if (workers == 1) judge.expect_phases_match(got, step);
        // The host's sums do not depend on how many workers there are.
        if (kernels.device() == Device::host && workers > 1)
          EXPECT_TRUE(same_bits(got, alone)) << kernels.name() << ", " << step.name();
        if (workers == 1 || !same_bits(got, alone) || states_of(machine) != states)
          attention.expect_match(machine, got, step);
        expect_pinned_is_zero(kernels, machine);
        if (workers == 1) {
          alone = got;
          states = states_of(machine);
        }
        if (::testing::Test::HasFailure()) return;
      }
      attention.advance(step);
      position += step.count();
    }
  }
}

// Over the 16 positions of a block of keys and the 64 whose scores are held at a time, in chunks
// and one by one.
const std::vector<Stretch>& boundaries() {
  static const std::vector<Stretch> stretches = {
      {Mode::decode, 2},   {Mode::prefill, 5}, {Mode::prefill, 7},  {Mode::decode, 4},
      {Mode::prefill, 17}, {Mode::prefill, 1}, {Mode::prefill, 26}, {Mode::decode, 4},
      {Mode::prefill, 67}, {Mode::decode, 2}};
  return stretches;
}

// Pages before that of a window's first position may hold anything.
void expect_only_the_window_is_read(const Kernels& kernels, int64_t window) {
  const ir::Node& phase = kernels.model->module.nodes.back();
  ASSERT_EQ(phase.text("kind", ""), "attention");
  const ir::Node& attention = phase.body.back();
  Machine machine(kernels, 3 * page_positions + window + 100);
  std::ranges::fill(machine.pages(), uint8_t{0x2c});
  Random random(7);
  for (const auto& [mode, rows] : {std::pair{Mode::decode, 1}, std::pair{Mode::prefill, 70}}) {
    Step step{.mode = mode, .tokens = random_tokens(rows, random)};
    step.position = 3 * page_positions + window + 5;
    const StepValues before = machine.run(step);
    for (const size_t i : {1, 2})
      for (int64_t p = 0; p < (step.position - window) / page_positions * page_positions;
           p += page_positions) {
        const auto page = machine.page(attention.operands[i], 0, p);
        const auto at = static_cast<size_t>(page.data() - machine.pages().data());
        std::ranges::fill(machine.pages().subspan(at, page.size()), uint8_t{0xff});
      }
    EXPECT_TRUE(same_bits(machine.run(step), before)) << kernels.name() << ", " << step.name();
    std::ranges::fill(machine.pages(), uint8_t{0x2c});
  }
}

// On a GPU the table and the caches are read before the phase before has ended, unless that is the
// one that makes them.
bool appends_for(const ir::Node& before, const ir::Node& attention) {
  const ValueId keys = attention.body.back().operands[1];
  return std::ranges::any_of(before.body, [&](const ir::Node& node) {
    return node.op == Op::kv_append && node.operands[0] == keys;
  });
}

void expect_tables_are_there(const Kernels& kernels) {
  const std::vector<ir::Node>& nodes = kernels.model->module.nodes;
  const std::vector<LoweredPhase>& phases = kernels.schedule(Mode::decode).phases;
  for (size_t i = 1; i < nodes.size(); ++i)
    for (size_t p = 1; p < phases.size(); ++p)
      if (phases[p].name == nodes[i].label && nodes[i].text("kind", "") == "attention")
        EXPECT_EQ(phases[p].begins_early(),
                  phases[p - 1].what.find("rope_table") == std::string::npos &&
                      !appends_for(nodes[i - 1], nodes[i]))
            << kernels.name() << ": " << phases[p].name;
}

// GPUs with waves of 64 differ from others in how lanes exchange numbers: of a long list of models
// they get every other one.
void expect_all_match(const std::vector<TestModel>& models, Device device,
                      const std::vector<Stretch>& stretches = boundaries(), int64_t chunk = 512) {
  for (const TestTarget& target : runnable_targets(device)) {
    SCOPED_TRACE(target.target.name);
    const size_t step = target.wave == 64 && models.size() > 4 ? 2 : 1;
    std::vector<Variant> variants;
    for (size_t m = 0; m < models.size(); m += step)
      variants.push_back({&models[m], Activations::a8});
    const Suite suite = compile(variants, target, kFewRows, chunk);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      if (device == Device::gpu) expect_tables_are_there(kernels);
      expect_sequence_matches(kernels, stretches);
      expect_company_does_not_matter(kernels);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

class Attention : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Host, Attention, ::testing::Values(Device::host));
INSTANTIATE_TEST_SUITE_P(Gpu, Attention, ::testing::Values(Device::gpu));

TEST_P(Attention, EveryShapeAndTransformAcrossBlockBoundaries) {
  const std::vector<Shape> shapes = {
      {.heads = 4, .kv_heads = 2, .head_dim = 16, .norm = true, .rope_dims = 16},
      {.heads = 4, .kv_heads = 4, .head_dim = 24},
      {.heads = 8, .kv_heads = 1, .head_dim = 64, .rope_dims = 64},
      {.heads = 6,
       .kv_heads = 2,
       .head_dim = 40,
       .norm = true,
       .rope_dims = 40,
       .interleaved = true},
      {.heads = 12, .kv_heads = 4, .head_dim = 48, .rope_dims = 24},
      {.heads = 5, .kv_heads = 1, .head_dim = 128, .norm = true, .rope_dims = 128},
      {.heads = 2, .kv_heads = 1, .head_dim = 80, .rope_dims = 32, .interleaved = true},
      {.heads = 16, .kv_heads = 1, .head_dim = 16, .norm = true},
      {.heads = 8, .kv_heads = 2, .head_dim = 96},
      {.heads = 4, .kv_heads = 1, .head_dim = 256, .norm = true, .rope_dims = 64},
      {.heads = 40, .kv_heads = 1, .head_dim = 16, .rope_dims = 8}};
  std::vector<TestModel> models;
  for (const Shape& shape : shapes) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam());
}

// Few positions: what is read is at stake.
const std::vector<Stretch>& few_positions() {
  static const std::vector<Stretch> stretches = {{Mode::decode, 2},
                                                 {Mode::prefill, 7},
                                                 {Mode::decode, 1},
                                                 {Mode::prefill, 18},
                                                 {Mode::decode, 2}};
  return stretches;
}

// Rotations of the middle and the end of a head, in heads whose widths have little to do with 16.
TEST_P(Attention, RotationsOfLaterFeatures) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 4, .kv_heads = 2, .head_dim = 24, .rope_dims = 8, .interleaved = true},
        Shape{.heads = 4,
              .kv_heads = 2,
              .head_dim = 24,
              .norm = true,
              .rope_dims = 6,
              .interleaved = true,
              .rope_begin = 3},
        Shape{.heads = 3, .kv_heads = 1, .head_dim = 40, .rope_dims = 16, .rope_begin = 24},
        Shape{.heads = 2,
              .kv_heads = 1,
              .head_dim = 80,
              .rope_dims = 32,
              .interleaved = true,
              .rope_begin = 48,
              .format = ir::DType::q8},
        Shape{.heads = 4,
              .kv_heads = 2,
              .head_dim = 96,
              .norm = true,
              .rope_dims = 64,
              .rope_begin = 32},
        Shape{.heads = 2,
              .kv_heads = 2,
              .head_dim = 192,
              .rope_dims = 64,
              .interleaved = true,
              .rope_begin = 128,
              .v_head_dim = 128}}) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam(), few_positions());
}

// Groups of 32 that are shorter at the end of a head, in one page and over the ends of two.
TEST_P(Attention, CachesOfEveryFormat) {
  std::vector<TestModel> models;
  for (const ir::StateFormat& format : ir::kStateFormats)
    for (Shape shape : {Shape{.heads = 4, .kv_heads = 2, .head_dim = 64, .rope_dims = 64},
                        Shape{.heads = 2, .kv_heads = 1, .head_dim = 80, .norm = true},
                        Shape{.heads = 5, .kv_heads = 1, .head_dim = 128, .rope_dims = 128},
                        Shape{.heads = 6, .kv_heads = 3, .head_dim = 24},
                        Shape{.heads = 1, .kv_heads = 1, .head_dim = 37}}) {
      if (format.dtype == ir::DType::f16) continue;  // all others
      shape.format = format.dtype;
      ModelBuilder b(shape.name());
      models.push_back(b.finish(add_attention(b, "", shape)));
    }
  expect_all_match(models, GetParam());
}

// Values narrower or wider than keys: within a run of 32 features and beyond it, on either side of
// what matrix units take, and with groups of codes that end earlier in one of them.
TEST_P(Attention, KeysAndValuesOfUnequalWidth) {
  const Shape narrower{.heads = 10, .kv_heads = 2, .head_dim = 80, .norm = true, .v_head_dim = 64};
  const Shape wider{.heads = 4, .kv_heads = 2, .head_dim = 24, .rope_dims = 24, .v_head_dim = 40};
  const Shape by_lanes{
      .heads = 2, .kv_heads = 1, .head_dim = 192, .rope_dims = 64, .v_head_dim = 128};
  std::vector<TestModel> models;
  const auto add = [&](Shape shape, ir::DType format) {
    shape.format = format;
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  };
  for (const ir::StateFormat& format : ir::kStateFormats) {
    add(narrower, format.dtype);
    add(wider, format.dtype);
    add(by_lanes, format.dtype);
  }
  add({.heads = 4, .kv_heads = 1, .head_dim = 37, .v_head_dim = 256}, ir::DType::f16);
  add({.heads = 9, .kv_heads = 1, .head_dim = 16, .v_head_dim = 128}, ir::DType::f16);
  add({.heads = 8, .kv_heads = 1, .head_dim = 128, .rope_dims = 32, .v_head_dim = 16},
      ir::DType::q8);
  expect_all_match(models, GetParam(), few_positions());
}

// Across pages, splits and the blocks of scores.
TEST_P(Attention, KeysAndValuesOfUnequalWidthAcrossBlockBoundaries) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 2, .kv_heads = 1, .head_dim = 80, .v_head_dim = 24},
        Shape{.heads = 3, .kv_heads = 1, .head_dim = 24, .format = ir::DType::q4, .v_head_dim = 80},
        Shape{.heads = 1,
              .kv_heads = 1,
              .head_dim = 48,
              .format = ir::DType::f32,
              .v_head_dim = 16}}) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam());
}

TEST_P(Attention, HeadsThatAreCutFromWiderOnes) {
  const std::vector<TestModel> models = cut_heads();
  for (const TestModel& model : models) EXPECT_EQ(phases_of(model, "rows"), 0U) << model.name;
  expect_all_match(models, GetParam(), few_positions());
}

TEST_P(Attention, HeadsAtUnequalDistancesAreCopied) {
  const TestModel model = unequal_heads();
  EXPECT_EQ(phases_of(model, "rows"), 1U);
  expect_all_match({model}, GetParam(), few_positions());
}

TEST_P(Attention, NormsAfterRotationAndOverRows) {
  const std::vector<TestModel> models = norms_of_heads();
  for (const TestModel& model : models)
    EXPECT_EQ(phases_of(model, "rows"), model.name == "attention_norm_of_both" ? 1U : 0U)
        << model.name;
  expect_all_match(models, GetParam(), few_positions());
}

TEST_P(Attention, NormsOfValuesAndNormsWithoutWeights) {
  const std::vector<TestModel> models = further_norms();
  for (const TestModel& model : models) EXPECT_EQ(phases_of(model, "rows"), 0U) << model.name;
  expect_all_match(models, GetParam(), few_positions());
}

TEST_P(Attention, KeysThatSharePartsAmongHeads) {
  const std::vector<TestModel> models = concatenated_keys();
  for (const TestModel& model : models) EXPECT_EQ(phases_of(model, "rows"), 0U) << model.name;
  expect_all_match(models, GetParam(), few_positions());
  // Across pages, splits and the blocks of scores.
  expect_all_match({models[0], models[1]}, GetParam(), {{Mode::prefill, 300}, {Mode::decode, 3}});
}

TEST_P(Attention, QueriesThatGrowWithTheirPosition) {
  expect_all_match(growing_queries(), GetParam(), few_positions());
}

TEST_P(Attention, CachesThatAnotherPhaseAppendsTo) {
  const std::vector<TestModel> models = shared_caches();
  for (const TestModel& model : models) EXPECT_EQ(phases_of(model, "attention"), 3U) << model.name;
  expect_all_match(models, GetParam(), few_positions());
  // Across pages, splits and the blocks of scores.
  expect_all_match({models[1], models[3]}, GetParam(), {{Mode::prefill, 300}, {Mode::decode, 3}});
}

TEST_P(Attention, LayersOfEveryArrangement) {
  const std::vector<TestModel> models = arranged_layers();
  // Beside them a table of angles and rows of embeddings.
  const std::vector<size_t> products = {5, 3, 2};
  for (size_t i = 0; i < models.size(); ++i) {
    EXPECT_EQ(phases_of(models[i], "matmul"), products[i]) << models[i].name;
    EXPECT_EQ(phases_of(models[i], "attention"), 1U) << models[i].name;
    EXPECT_EQ(phases_of(models[i], "rows"), 0U) << models[i].name;
  }
  expect_all_match(models, GetParam(), few_positions());
}

// More positions than one split takes, and so many that the splits there are take more than usual.
TEST_P(Attention, LongContexts) {
  std::vector<TestModel> models;
  for (const Shape& shape : {Shape{.heads = 3, .kv_heads = 1, .head_dim = 16, .rope_dims = 16},
                             Shape{.heads = 64, .kv_heads = 64, .head_dim = 16}}) {
    ModelBuilder b(shape.name() + "_long");
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match({models[0]}, GetParam(), {{Mode::prefill, 310}, {Mode::decode, 12}});
  expect_all_match({models[1]}, GetParam(), {{Mode::prefill, 265}, {Mode::decode, 2}});
}

// Windows of one position, of less and more than what is read at a time, and as long as a page; the
// last ones are longer than what is decoded before the end.
TEST_P(Attention, SlidingWindows) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 4, .kv_heads = 2, .head_dim = 16, .rope_dims = 16, .window = 1},
        Shape{.heads = 3, .kv_heads = 1, .head_dim = 40, .window = 7},
        Shape{.heads = 8, .kv_heads = 1, .head_dim = 64, .v_head_dim = 24, .window = 16},
        Shape{.heads = 2, .kv_heads = 1, .head_dim = 32, .format = ir::DType::q8, .window = 37},
        Shape{.heads = 2, .kv_heads = 2, .head_dim = 48, .format = ir::DType::q4, .window = 20},
        Shape{.heads = 2, .kv_heads = 1, .head_dim = 144, .v_head_dim = 16, .window = 64},
        Shape{.heads = 1, .kv_heads = 1, .head_dim = 16, .format = ir::DType::f32, .window = 100},
        Shape{.heads = 5, .kv_heads = 1, .head_dim = 16, .window = 1000}}) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam());
}

// Windows that are split, far from the beginning; what was cached before them does not matter.
TEST_P(Attention, WindowsOfLongContexts) {
  const Shape shape{.heads = 3, .kv_heads = 1, .head_dim = 16, .window = 200};
  ModelBuilder b(shape.name() + "_long");
  const TestModel model = b.finish(add_attention(b, "", shape));
  expect_all_match({model}, GetParam(), {{Mode::prefill, 310}, {Mode::decode, 12}});
  for (const TestTarget& target : runnable_targets(GetParam())) {
    const Suite suite = compile({{&model, Activations::a8}}, target, kFewRows);
    ASSERT_FALSE(suite.kernels.empty());
    expect_company_does_not_matter(suite.kernels[0], {1279, 1280, 214, 215, 198, 5});
    expect_only_the_window_is_read(suite.kernels[0], shape.window);
  }
}

// A ring holds the window and a chunk, in pages. Here that is three pages, four, and five, which
// are written several times over: by chunks that end within a page, then by single rows.
TEST_P(Attention, RingsOfWindows) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 4, .kv_heads = 2, .head_dim = 16, .rope_dims = 16, .window = 1},
        Shape{.heads = 3, .kv_heads = 1, .head_dim = 64, .v_head_dim = 24, .window = 37},
        Shape{.heads = 2, .kv_heads = 2, .head_dim = 48, .format = ir::DType::q4, .window = 100},
        Shape{.heads = 2, .kv_heads = 1, .head_dim = 144, .format = ir::DType::f32, .window = 64},
        Shape{.heads = 5, .kv_heads = 1, .head_dim = 32, .format = ir::DType::q8, .window = 200}}) {
    Shape with_ring = shape;
    with_ring.ring = true;
    ModelBuilder b(with_ring.name());
    models.push_back(b.finish(add_attention(b, "", with_ring)));
  }
  constexpr int64_t kChunk = 100;
  expect_all_match(models, GetParam(),
                   {{Mode::prefill, kChunk},
                    {Mode::prefill, kChunk},
                    {Mode::prefill, 90},
                    {Mode::decode, 3},
                    {Mode::prefill, kChunk},
                    {Mode::prefill, 61},
                    {Mode::decode, 5}},
                   kChunk);
  for (const TestTarget& target : runnable_targets(GetParam())) {
    const Suite suite = compile({{&models.back(), Activations::a8}}, target, kFewRows, kChunk);
    ASSERT_FALSE(suite.kernels.empty());
    const auto& states = suite.kernels[0].lowering.states.states;
    EXPECT_EQ(states[0].positions, 6U * page_positions);
    EXPECT_EQ(states[0].window, 200U);
    expect_company_does_not_matter(suite.kernels[0], {1279, 1280, 383, 384, 385, 198, 5});
  }
}

// One position, several splits, windows, rings; a group that is larger than a tile of rows; on
// matrix units and by lanes.
TEST_P(Attention, Sinks) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 8, .kv_heads = 2, .head_dim = 64, .rope_dims = 64, .sinks = ir::DType::bf16},
        Shape{.heads = 5, .kv_heads = 1, .head_dim = 24, .sinks = ir::DType::f32},
        Shape{.heads = 40, .kv_heads = 1, .head_dim = 16, .sinks = ir::DType::f32},
        Shape{.heads = 6,
              .kv_heads = 2,
              .head_dim = 40,
              .format = ir::DType::q8,
              .window = 20,
              .sinks = ir::DType::f32},
        Shape{.heads = 2,
              .kv_heads = 1,
              .head_dim = 144,
              .v_head_dim = 16,
              .window = 37,
              .ring = true,
              .sinks = ir::DType::f16},
        Shape{.heads = 3,
              .kv_heads = 1,
              .head_dim = 32,
              .format = ir::DType::f32,
              .sinks = ir::DType::f32}}) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam());
  const Shape shape{.heads = 3, .kv_heads = 1, .head_dim = 16, .sinks = ir::DType::f32};
  ModelBuilder b(shape.name() + "_long");
  const TestModel model = b.finish(add_attention(b, "", shape));
  expect_all_match({model}, GetParam(), {{Mode::prefill, 310}, {Mode::decode, 12}});
}

// Caps below and above most scores, with everything that may come after them.
TEST_P(Attention, CappedScores) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 4, .kv_heads = 2, .head_dim = 64, .rope_dims = 64, .softcap = 50},
        Shape{.heads = 5, .kv_heads = 1, .head_dim = 24, .softcap = 2},
        Shape{.heads = 2, .kv_heads = 1, .head_dim = 48, .format = ir::DType::q4, .softcap = 5},
        Shape{.heads = 2,
              .kv_heads = 1,
              .head_dim = 256,
              .window = 37,
              .ring = true,
              .sinks = ir::DType::f32,
              .softcap = 30},
        Shape{.heads = 3,
              .kv_heads = 1,
              .head_dim = 32,
              .format = ir::DType::q8,
              .window = 20,
              .ring = true,
              .sinks = ir::DType::f32,
              .softcap = 3}}) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam());
}

// Chunks of one position, of less and more than what is read at a time, and as long as a page; with
// all else that may come with them.
TEST_P(Attention, ChunksOfPositions) {
  std::vector<TestModel> models;
  for (const Shape& shape :
       {Shape{.heads = 4, .kv_heads = 2, .head_dim = 16, .rope_dims = 16, .chunk = 1},
        Shape{.heads = 3, .kv_heads = 1, .head_dim = 40, .chunk = 7},
        Shape{.heads = 2, .kv_heads = 1, .head_dim = 32, .format = ir::DType::q8, .chunk = 37},
        Shape{.heads = 2, .kv_heads = 1, .head_dim = 144, .v_head_dim = 16, .chunk = 64},
        Shape{.heads = 1, .kv_heads = 1, .head_dim = 16, .window = 10, .chunk = 24},
        Shape{.heads = 5,
              .kv_heads = 1,
              .head_dim = 48,
              .ring = true,
              .sinks = ir::DType::f32,
              .softcap = 20,
              .chunk = 20}}) {
    ModelBuilder b(shape.name());
    models.push_back(b.finish(add_attention(b, "", shape)));
  }
  expect_all_match(models, GetParam());
}

// Chunks that are split, far from the beginning; what was cached before them does not matter.
TEST_P(Attention, ChunksOfLongContexts) {
  const Shape shape{.heads = 3, .kv_heads = 1, .head_dim = 16, .chunk = 200};
  ModelBuilder b(shape.name() + "_long");
  const TestModel model = b.finish(add_attention(b, "", shape));
  expect_all_match({model}, GetParam(), {{Mode::prefill, 395}, {Mode::decode, 8}});
  for (const TestTarget& target : runnable_targets(GetParam())) {
    const Suite suite = compile({{&model, Activations::a8}}, target, kFewRows);
    ASSERT_FALSE(suite.kernels.empty());
    expect_company_does_not_matter(suite.kernels[0], {1199, 1200, 1201, 1330, 198, 5});
    expect_only_the_window_is_read(suite.kernels[0], shape.chunk);
  }
}

// A row may have more splits than one that is longer: those of the longer one are longer.
TEST_P(Attention, RowsWithMoreSplitsThanLongerOnes) {
  ModelBuilder b("attention_splits");
  const TestModel model =
      b.finish(add_attention(b, "", {.heads = 12, .kv_heads = 12, .head_dim = 16}));
  for (const TestTarget& target : runnable_targets(GetParam())) {
    const Suite suite = compile({{&model, Activations::a8}}, target, kFewRows);
    ASSERT_FALSE(suite.kernels.empty());
    expect_company_does_not_matter(suite.kernels[0], {1279, 1280, 5});
  }
}

// Heads are no longer than the host's stack and a GPU's waves allow; the kernels of the longest
// work.
TEST_P(Attention, HeadsAreAsLongAsKernelsCanTake) {
  const auto lowered = [&](int64_t heads, int64_t head_dim) {
    ModelBuilder b(fmt::format("long_heads_{}_{}", heads, head_dim));
    const TestModel model =
        b.finish(add_attention(b, "", {.heads = heads, .kv_heads = 1, .head_dim = head_dim}));
    std::vector<passes::Remark> remarks;
    return lower(model.module, GetParam(), Activations::a8, schedules(), remarks).status();
  };
  const bool host = GetParam() == Device::host;
  const absl::Status refused = lowered(1, 262144);
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(
      refused.message().find(R"("head_dim" (of a GGUF file "attention.key_length") is 262144)"),
      std::string::npos)
      << refused;
  EXPECT_NE(refused.message().find(
                host ? "on the host with 1 heads to a KV head has kernels for at most 3248"
                     : "on GPUs with 1 heads to a KV head has kernels for at most 256"),
            std::string::npos)
      << refused;
  EXPECT_TRUE(lowered(1, host ? 3248 : 256).ok());
  EXPECT_FALSE(lowered(1, host ? 3264 : 272).ok());
  EXPECT_FALSE(lowered(64, 1024).ok());
  if (!host) return;
  std::vector<TestModel> models;
  ModelBuilder b("attention_longest_heads");
  models.push_back(b.finish(add_attention(b, "", {.heads = 1, .kv_heads = 1, .head_dim = 3248})));
  expect_all_match(models, GetParam(), {{Mode::prefill, 9}, {Mode::decode, 1}});
}

TEST_P(Attention, AppendsToBothCachesOrToNone) {
  ModelBuilder b("attention_half");
  const ValueId q = b.reshape("q", b.rows("q", 16), {ir::Dim::of('T'), 1, 16});
  const ValueId keys = b.state("keys", 1, 16);
  const ValueId values = b.state("values", 1, 16);
  b.add("append", Op::kv_append, {keys, q});
  const TestModel model =
      b.finish(b.add("attention", Op::attention, {q, keys, values}, {{"scale", 0.25}}));
  std::vector<passes::Remark> remarks;
  const absl::Status refused =
      lower(model.module, GetParam(), Activations::a8, schedules(), remarks).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(refused.message().find("attention that appends to one of its caches has no kernel"),
            std::string::npos)
      << refused;
}

// The splits of different layers meet in the same memory.
TEST_P(Attention, LayersOfDifferentShapesInOneModel) {
  std::vector<TestModel> models;
  ModelBuilder b("attention_mixed");
  const ValueId wide = add_attention(b, "wide_", {.heads = 8, .kv_heads = 2, .head_dim = 32});
  const ValueId narrow = add_attention(b, "narrow_", {.heads = 2, .kv_heads = 1, .head_dim = 16});
  const ValueId part =
      b.add("part", Op::slice, {wide}, {{"begin", int64_t{0}}, {"end", int64_t{32}}});
  models.push_back(b.finish(b.add("sum", Op::add, {part, narrow})));
  expect_all_match(models, GetParam());
}

}  // namespace
}  // namespace sinter::codegen::test
