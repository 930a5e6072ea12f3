// Which phases begin before the one before them is over.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "codegen/schedule/early_starts.h"
#include "codegen/schedule/source.h"
#include "tests/codegen/attention_models.h"

namespace sinter::codegen::test {
namespace {

using Kernel = LoweredPhase::Kernel;

constexpr Buffer kTable{Buffer::Kind::activation, 1, 0};
constexpr Buffer kQueries{Buffer::Kind::activation, 2, 0};
constexpr Buffer kKeys{Buffer::Kind::state, 3, 0};
constexpr Buffer kCodes{Buffer::Kind::weight, 4, 0};

LoweredPhase phase_with(const std::vector<std::pair<Buffer, Use>>& arguments,
                        Kernel kernel = Kernel::plain) {
  LoweredPhase phase;
  phase.name = "attention";
  phase.kernel = kernel;
  for (const auto& [buffer, use] : arguments) {
    phase.arguments.push_back(buffer);
    phase.uses.push_back(use);
  }
  return phase;
}

LoweredPhase reads_ahead(Kernel kernel) {
  return phase_with({{kTable, {.access = Access::read, .read_ahead = true}},
                     {kQueries, {.access = Access::read}},
                     {kKeys, {.access = Access::update, .read_ahead = true}},
                     {kCodes, {.access = Access::read, .read_ahead = true}}},
                    kernel);
}

Kernel last_of(std::vector<LoweredPhase> phases) {
  LoweredSchedule schedule;
  schedule.phases = std::move(phases);
  EXPECT_TRUE(settle_early_starts(schedule).ok());
  return schedule.phases.back().kernel;
}

TEST(EarlyStarts, FollowFromWhatThePhaseBeforeWrites) {
  for (const Kernel kernel : {Kernel::early, Kernel::paired, Kernel::alone}) {
    const LoweredPhase phase = reads_ahead(kernel);
    EXPECT_EQ(last_of({phase}), kernel);
    for (const Buffer& ahead : {kTable, kKeys})
      for (const Access access : {Access::write, Access::update}) {
        const LoweredPhase writer = phase_with({{kQueries, {}}, {ahead, {.access = access}}});
        EXPECT_EQ(last_of({writer, phase}), Kernel::plain);
        // All phases but the one before are over.
        EXPECT_EQ(last_of({writer, phase_with({{kQueries, {.access = Access::write}}}), phase}),
                  kernel);
      }
    // What it reads once it has waited, and what both read.
    EXPECT_EQ(last_of({phase_with({{kQueries, {.access = Access::write}},
                                   {kTable, {.access = Access::read}},
                                   {kKeys, {.access = Access::read}}}),
                       phase}),
              kernel);
  }
  // No kernel becomes what it was not declared as.
  EXPECT_EQ(last_of({phase_with({{kTable, {.access = Access::write}}}), reads_ahead(Kernel::wide)}),
            Kernel::wide);
}

TEST(EarlyStarts, NothingIsReadAheadThatIsOnlyWritten) {
  LoweredSchedule schedule;
  schedule.shape.name = "decode";
  schedule.phases = {phase_with({{kCodes, {}}, {kTable, {Access::write, false, true}}})};
  EXPECT_EQ(settle_early_starts(schedule).message(),
            "phase \"attention\" of schedule decode reads argument 1 ahead, which it only writes");
}

// Of one text there are then two kernels: who may begin early does not change who may not.
TEST(EarlyStarts, APhaseThatMayNotSharesNoKernelWithOneThatMay) {
  Lowering lowering;
  lowering.schedules.resize(1);
  for (const Kernel kernel : {Kernel::early, Kernel::plain, Kernel::early})
    lowering.schedules[0].phases.push_back(reads_ahead(kernel));
  const KernelSource source = assemble_source(lowering, "some");
  EXPECT_EQ(source.used[0], (std::vector<uint32_t>{0, 1, 0}));
  EXPECT_NE(source.text.find("SINTER_EARLY_PHASE(attention)"), std::string::npos) << source.text;
  EXPECT_NE(source.text.find("SINTER_PHASE(attention_2)"), std::string::npos) << source.text;
}

// Attention says that it reads RoPE's table and its caches, and begins early unless the phase
// before it makes the table: so it is where layers have products, and where heads lie in memory.
TEST(EarlyStarts, AttentionBeginsEarlyUnlessItsTableIsNew) {
  std::vector<TestModel> models = arranged_layers();
  std::ranges::move(cut_heads(), std::back_inserter(models));
  std::ranges::move(norms_of_heads(), std::back_inserter(models));
  int early = 0, late = 0;
  for (const TestModel& model : models) {
    SCOPED_TRACE(model.name);
    std::vector<passes::Remark> remarks;
    const auto lowering = lower(model.module, Device::gpu, Activations::a8, schedules(), remarks);
    ASSERT_TRUE(lowering.ok()) << lowering.status();
    for (const LoweredSchedule& schedule : lowering->schedules) {
      for (size_t i = 1; i < schedule.phases.size(); ++i) {
        const LoweredPhase& phase = schedule.phases[i];
        if (phase.body.find("attention_few<") == std::string::npos) continue;
        bool new_table = false;
        int caches = 0;
        for (size_t a = 0; a < phase.arguments.size(); ++a) {
          const Buffer& buffer = phase.arguments[a];
          if (!phase.uses[a].read_ahead) continue;
          caches += buffer.kind == Buffer::Kind::state ? 1 : 0;
          const LoweredPhase& before = schedule.phases[i - 1];
          for (size_t b = 0; b < before.arguments.size(); ++b)
            new_table |= buffer.kind == Buffer::Kind::activation &&
                         before.what.find("rope_table") != std::string::npos &&
                         before.arguments[b] == buffer && before.uses[b].access == Access::write;
        }
        EXPECT_EQ(caches, 2) << phase.name;
        const Kernel wanted = schedule.shape.most_rows == 1 ? Kernel::alone : Kernel::paired;
        EXPECT_EQ(phase.kernel, new_table ? Kernel::plain : wanted) << phase.name;
        ++(new_table ? late : early);
      }
    }
  }
  EXPECT_GT(early, 0);
  EXPECT_GT(late, 0);
}

}  // namespace
}  // namespace sinter::codegen::test
