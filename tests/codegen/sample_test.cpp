// Sampling on a GPU draws the very tokens that runtime/session/sampler.h defines.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "codegen/compile/object_cache.h"
#include "runtime/session/sampler.h"
#include "runtime/session/step_table.h"
#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kRing = 4;

struct Case {
  std::string name;
  std::vector<float> logits;
  runtime::SamplingOptions options;
};

// What a step leaves behind, for a token or a negative SampleError.
class Gpu {
 public:
  explicit Gpu(const TestTarget& on) : simt_(on.wave) {
    const auto shared = compile_shared("#include \"sinter.h\"\n", on.target);
    EXPECT_TRUE(shared.ok()) << shared.status();
    if (shared.ok()) code_ = LoadedCode(*shared);
  }

  // Draws number `draw` and on from the same logits of every case, a row each of the same step. The
  // cases' vocabularies are of one size.
  std::vector<std::vector<int>> sample(std::span<const Case> cases, uint64_t draw, int draws,
                                       int blocks) {
    const auto vocabulary = static_cast<int64_t>(cases[0].logits.size());
    const auto rows = static_cast<int64_t>(cases.size());
    // Rows of logits that belong to nobody are NaN; row r's are number 2 r + 1, and its sequence is
    // the one that many from the last.
    GuardedBuffer logits((2 * rows + 1) * vocabulary * 4, 0, 0xff);
    std::vector<SampleParams> params(static_cast<size_t>(rows));
    std::vector<StepRow> steps;
    for (int64_t r = 0; r < rows; ++r) {
      const Case& c = cases[static_cast<size_t>(r)];
      std::memcpy(logits.data() + (2 * r + 1) * vocabulary * 4, c.logits.data(),
                  c.logits.size() * 4);
      const auto sequence = static_cast<int>(rows - 1 - r);
      const bool greedy = c.options.greedy || c.options.temperature == 0;
      params[static_cast<size_t>(sequence)] = {
          .seed = c.options.seed,
          .draw = draw,
          .scale = greedy ? 0 : runtime::sampling_scale(c.options.temperature),
          .top_p = c.options.top_p,
          .top_k = c.options.top_k,
          .drawn = 3};
      steps.push_back({.token = -7,
                       .position = static_cast<int>(10 + r),
                       .sequence = sequence,
                       .logits = static_cast<int>(2 * r + 1)});
    }
    logits.make_read_only();
    GuardedBuffer ring(rows * kRing * 4, 0, 0xff);
    GuardedBuffer workspace(gpu_sample_workspace, 0, 0);
    GuardedBuffer table(static_cast<int64_t>(runtime::step_table_bytes(rows)), 0, 0xff);
    runtime::write_step_table(table.data(), rows, steps);
    auto* const step = reinterpret_cast<StepParams*>(table.data());
    std::vector<std::vector<int>> drawn(cases.size());
    for (int i = 0; i < draws; ++i) {
      const GpuArguments arguments{
          .step = step,
          .pages = nullptr,
          .args = {logits.data(), params.data(), step, ring.data(), workspace.data(),
                   reinterpret_cast<void*>(uint64_t{kRing}), reinterpret_cast<void*>(vocabulary)},
          .workers = 0,
          .pages_per_sequence = 0};
      const auto status = simt_.run(code_.find_simt("sinter_sample"), arguments,
                                    {blocks, i % 2 == 1, kSharedBytes});
      EXPECT_TRUE(status.ok()) << status;
      if (!status.ok()) return drawn;
      EXPECT_EQ(step->rows, rows);
      EXPECT_EQ(step->logits_rows, rows);
      for (int64_t r = 0; r < rows; ++r) {
        const auto at = static_cast<size_t>(r);
        const auto* const row = reinterpret_cast<const StepRow*>(step + 1) + r;
        int token = 0;
        std::memcpy(&token, ring.data() + (r * kRing + (3 + i) % kRing) * 4, 4);
        drawn[at].push_back(token);
        EXPECT_EQ(row->token, std::max(token, 0));
        EXPECT_EQ(row->position, 10 + r + i + 1);
        EXPECT_EQ(row->sequence, steps[at].sequence);
        EXPECT_EQ(row->logits, steps[at].logits);
        const SampleParams& its = params[static_cast<size_t>(row->sequence)];
        EXPECT_EQ(its.drawn, 4 + i);
        EXPECT_EQ(its.draw, draw + static_cast<uint64_t>(i) + 1);
      }
      EXPECT_EQ(std::count(workspace.data(), workspace.data() + workspace.bytes(), 0),
                workspace.bytes());
    }
    return drawn;
  }
  std::vector<int> sample(const Case& c, uint64_t draw, int draws, int blocks) {
    return sample(std::span(&c, 1), draw, draws, blocks)[0];
  }

 private:
  static constexpr int64_t kSharedBytes = 4096;

  LoadedCode code_;
  SimtMachine simt_;
};

// The definition, or the error that stands for the message.
int expected(const Case& c, uint64_t draw) {
  const auto token = runtime::sample(c.logits, c.options, draw);
  if (token.ok()) return *token;
  const std::string& message = token.error().message;
  return message.find("NaN") != std::string::npos         ? sample_nan
         : message.find("+infinity") != std::string::npos ? sample_infinite
                                                          : sample_none;
}

std::vector<float> random_logits(size_t count, float spread, uint64_t seed) {
  Random random(seed);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = random.uniform(-spread, spread);
  return logits;
}

std::vector<Case> cases() {
  std::vector<Case> out;
  const auto many = random_logits(5003, 12, 1);
  const auto flat = random_logits(777, 0.01F, 2);
  std::vector<float> ties(600, -1.0F);
  for (const size_t i : {5, 77, 300, 301, 599}) ties[i] = 2.5F;
  for (const size_t i : {0, 6, 598}) ties[i] = 2.0F;
  std::vector<float> zeros(300, 0.0F);
  for (size_t i = 0; i < zeros.size(); i += 2) zeros[i] = -0.0F;
  std::vector<float> few = many;
  for (size_t i = 0; i < few.size(); ++i)
    if (i % 1000 != 3) few[i] = -kInfinity;
  std::vector<float> nothing(300, -kInfinity);
  std::vector<float> one = nothing;
  one[299] = -3.0F;

  const std::pair<std::string, std::vector<float>> all[] = {
      {"many", many}, {"flat", flat}, {"ties", ties},    {"zeros", zeros},
      {"few", few},   {"one", one},   {"single", {4.0F}}};
  for (const auto& [name, logits] : all) {
    const auto add = [&](const std::string& how, const runtime::SamplingOptions& options) {
      out.push_back({name + " " + how, logits, options});
    };
    add("greedy", {.greedy = true});
    add("cold", {.temperature = 0});
    add("plain", {.seed = 1});
    add("hot", {.temperature = 3, .seed = 2});
    add("nearly cold", {.temperature = 1e-3F, .seed = 3});
    add("top_k 1", {.top_k = 1, .seed = 4});
    add("top_k 3", {.temperature = 5, .top_k = 3, .seed = 5});
    add("top_k 7", {.temperature = 5, .top_k = 7, .seed = 6});
    add("top_k all", {.top_k = 6000, .seed = 7});
    add("top_p 0", {.top_p = 0, .seed = 8});
    add("top_p 0.3", {.temperature = 2, .top_p = 0.3F, .seed = 9});
    add("top_p 0.95", {.temperature = 2, .top_p = 0.95F, .seed = 10});
    add("both", {.temperature = 4, .top_k = 40, .top_p = 0.8F, .seed = 0xfedcba9876543210U});
  }
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::quiet_NaN(), kInfinity})
    for (const size_t at : {0, 255, 776}) {
      out.push_back({fmt::format("{} at {}", bad, at), flat, {.seed = 1}});
      out.back().logits[at] = bad;
    }
  out.push_back({"NaN and infinity", flat, {.greedy = true}});
  out.back().logits[3] = kInfinity;
  out.back().logits[700] = std::numeric_limits<float>::quiet_NaN();
  out.push_back({"nothing", nothing, {.seed = 1}});
  out.push_back({"nothing greedy", nothing, {.greedy = true}});
  return out;
}

TEST(Sample, GpuDrawsWhatTheSamplerDefines) {
  for (const TestTarget& on : runnable_targets(Device::gpu)) {
    SCOPED_TRACE(on.target.name);
    Gpu gpu(on);
    ASSERT_FALSE(HasFailure());
    size_t number = 0;
    for (const Case& c : cases())
      for (const int blocks : {1, 3, 12, gpu_sample_blocks}) {
        if (blocks == gpu_sample_blocks && number++ % 16 != 0) continue;
        constexpr uint64_t kFirst = 17;
        const std::vector<int> drawn = gpu.sample(c, kFirst, blocks == 3 ? 6 : 2, blocks);
        for (size_t i = 0; i < drawn.size(); ++i)
          EXPECT_EQ(drawn[i], expected(c, kFirst + i))
              << c.name << ", " << blocks << " blocks, draw " << i;
        if (HasFailure()) return;
      }
  }
}

// What a row draws does not depend on the others of its step.
TEST(Sample, RowsDrawAsTheyDoAlone) {
  std::map<size_t, std::vector<Case>> by_size;
  for (const Case& c : cases()) by_size[c.logits.size()].push_back(c);
  for (const TestTarget& on : runnable_targets(Device::gpu)) {
    SCOPED_TRACE(on.target.name);
    Gpu gpu(on);
    ASSERT_FALSE(HasFailure());
    for (const auto& [size, all] : by_size)
      for (const size_t count : {size_t{2}, size_t{5}, all.size()})
        for (const int blocks : {1, 7, 24}) {
          if (count > all.size()) continue;
          const std::span<const Case> together(all.data(), count);
          const auto drawn = gpu.sample(together, 3, 2, blocks);
          for (size_t r = 0; r < count; ++r)
            for (size_t i = 0; i < drawn[r].size(); ++i)
              EXPECT_EQ(drawn[r][i], expected(together[r], 3 + i))
                  << together[r].name << ", row " << r << " of " << count << ", " << blocks
                  << " blocks, draw " << i;
          if (HasFailure()) return;
        }
  }
}

}  // namespace
}  // namespace sinter::codegen::test
