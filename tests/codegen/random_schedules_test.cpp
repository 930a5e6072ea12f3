// Compiled models in sessions of many sequences that come and go: each gets, token for token and
// bit for bit, what it gets alone in a session of its own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "frontends/open/open_checkpoint.h"
#include "tests/codegen/compiled_model.h"
#include "tests/codegen/windows.h"
#include "tests/runtime/session/random_schedule.h"
#include "tests/runtime/session/run_alone.h"

namespace sinter {
namespace {

using runtime::RandomSchedule;
using runtime::SequenceRow;
using runtime::Session;

struct Case {
  std::string golden;
  codegen::Activations activations = codegen::Activations::a8;
  ir::DType kv_format = ir::DType::f16;
  int threads = 1;
  int64_t window = 0;  // of the first layer; 0: none

  std::string name() const { return golden + (window == 0 ? "" : "_window"); }
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name(); }

// What rows that are added up in another order may differ by, relative to the logits' size. Sums in
// float32 differ by their last bits, and where such a number is rounded further, it may fall the
// other way: by a whole step of the codes of activations, or of what is cached. A step is relative
// to the largest number of its group, which has at most some four times the size of a middle one.
// In each of two layers four products round activations and two states are cached; the output head
// rounds, too. They fall one way or the other independently, so their squares add up.
double largest_difference(const Case& c, bool has_codes) {
  constexpr double kLayers = 2, kLargest = 4;
  const double activations = !has_codes                                  ? 0
                             : c.activations == codegen::Activations::a8 ? 1.0 / 127
                                                                         : 1.0 / 32767;
  const double cached = c.kv_format == ir::DType::f16  ? 0x1p-10 / kLargest  // of any number
                        : c.kv_format == ir::DType::q8 ? 1.0 / 128
                        : c.kv_format == ir::DType::q4 ? 1.0 / 8
                                                       : 0;
  constexpr double kSums = 1024 * 0x1p-24;  // of so many numbers
  const double squares = (4 * kLayers + 1) * (activations * activations + kSums * kSums) +
                         2 * kLayers * cached * cached;
  return kLargest * std::sqrt(squares);
}

double relative_difference(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - want[i], 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

class RandomSchedules : public ::testing::TestWithParam<Case> {};

TEST_P(RandomSchedules, GiveEachSequenceWhatItGetsAlone) {
  const Case& c = GetParam();
  const auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/" + c.golden);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto imported = models::import_checkpoint(**checkpoint);
  ASSERT_TRUE(imported.ok()) << imported.status();
  if (c.window != 0) give_window(imported->module, c.window);
  codegen::CompileOptions options;
  options.activations = c.activations;
  options.kv_format = c.kv_format;
  options.chunk = 48;  // rings have 128 positions then
  const auto model = compile_and_load(*imported, checkpoint->get(), "random_" + c.name(), options,
                                      0, {.threads = c.threads, .progress = {}})
                         .model;
  ASSERT_NE(model, nullptr);
  const double bound = largest_difference(c, c.golden != "hf_qwen3");
  double farthest = 0;
  int64_t rows = 0, logits = 0, draws = 0, cuts = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    // Up to 40 sequences, more than steps of few rows have; some sessions have room for all that
    // they may hold, others do not.
    const int64_t sequences = 1 + seed % 40;
    const int64_t context = 100 + seed % 3 * 70;
    auto session = Session::create(
        model, runtime::SessionOptions{.context = context,
                                       .sequences = sequences,
                                       .positions = seed % 3 == 0 ? 0 : 64 + 64 * sequences,
                                       .executor = seed % 4 < 2 ? runtime::Executor::persistent
                                                                : runtime::Executor::eager});
    ASSERT_TRUE(session.ok()) << session.error().message;
    RandomSchedule schedule(*model, **session, seed);
    const RunSequenceAlone alone(model, context);
    schedule.run(24);
    session->reset();
    if (!HasFailure()) schedule.compare(alone);
    if (HasFailure()) return;
    // Whatever was a chunk may be read row by row.
    std::vector<SequenceRow> longest = schedule.longest();
    if (std::ranges::any_of(longest, &SequenceRow::in_chunk)) {
      const std::vector<float> chunks = alone(longest).back();
      for (SequenceRow& row : longest) row.in_chunk = false;
      const double difference = relative_difference(chunks, alone(longest).back());
      EXPECT_LE(difference, bound);
      farthest = std::max(farthest, difference);
    }
    rows += schedule.rows();
    logits += schedule.logits();
    draws += schedule.draws();
    cuts += schedule.cuts();
  }
  EXPECT_GT(cuts, 100);
  EXPECT_GT(farthest, 0) << "chunks add up as few rows do";
  fmt::print(
      "  {} rows, {} rows of logits and {} draws are the same; chunks within {:.1e} of {:.1e}\n",
      rows, logits, draws, farthest, bound);
}

INSTANTIATE_TEST_SUITE_P(
    Goldens, RandomSchedules,
    ::testing::Values(Case{"mlx_b2_ternary"}, Case{"mlx_b4_g64", codegen::Activations::a16},
                      Case{"mlx_b1_asym", codegen::Activations::a16, ir::DType::q8},
                      Case{"hf_qwen3", codegen::Activations::a8, ir::DType::f32},
                      Case{"bitnet_online", codegen::Activations::a8, ir::DType::q4, 2},
                      Case{"mlx_b4_g64", codegen::Activations::a8, ir::DType::q8, 1, 7},
                      Case{"hf_qwen3", codegen::Activations::a8, ir::DType::f16, 1, 30}),
    [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace sinter
