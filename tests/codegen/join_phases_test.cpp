// Which phases become one.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "codegen/schedule/join_phases.h"
#include "runtime/abi/kernel_abi.h"

namespace sinter::codegen::test {
namespace {

using Kernel = LoweredPhase::Kernel;

constexpr Use kRead{.access = Access::read};
constexpr Use kWrite{.access = Access::write};
constexpr Use kUpdate{.access = Access::update};

Buffer tensor(int64_t number) { return {Buffer::Kind::activation, number, 0}; }
Buffer state(int64_t number) { return {Buffer::Kind::state, number, 0}; }

LoweredPhase phase(const std::string& name, const std::vector<std::pair<Buffer, Use>>& arguments,
                   Kernel kernel = Kernel::plain) {
  LoweredPhase made;
  made.name = made.what = made.summary = name;
  made.body = fmt::format("  {}();\n", name);
  made.kernel = kernel;
  for (const auto& [buffer, use] : arguments) {
    made.arguments.push_back(buffer);
    made.uses.push_back(use);
  }
  return made;
}

LoweredSchedule joined(std::vector<LoweredPhase> phases, bool on_gpu = true, int64_t rows = 1) {
  LoweredSchedule schedule;
  schedule.shape.most_rows = rows;
  schedule.phases = std::move(phases);
  const size_t before = schedule.phases.size();
  const auto moved = join_phases(schedule, on_gpu);
  EXPECT_EQ(schedule.phases.size() + moved.size(), before);
  return schedule;
}

std::string names(const std::vector<LoweredPhase>& phases, bool on_gpu = true, int64_t rows = 1) {
  std::vector<std::string> all;
  for (const LoweredPhase& one : joined(phases, on_gpu, rows).phases) all.push_back(one.name);
  return fmt::format("{}", fmt::join(all, ", "));
}

const LoweredPhase kFirst = phase("a", {{tensor(1), kRead}, {tensor(2), kWrite}});

TEST(JoinPhases, ThoseThatNeedNothingOfEachOtherAreOne) {
  for (const bool gpu : {false, true}) {
    EXPECT_EQ(names({kFirst, phase("b", {{tensor(1), kRead}, {tensor(3), kWrite}})}, gpu), "a+b");
    // What one writes, another reads, or overwrites when it has been read.
    EXPECT_EQ(names({kFirst, phase("b", {{tensor(2), kRead}})}, gpu), "a, b");
    EXPECT_EQ(names({kFirst, phase("b", {{tensor(1), kWrite}})}, gpu), "a, b");
    EXPECT_EQ(names({phase("a", {{state(1), kUpdate}}), phase("b", {{state(1), kRead}})}, gpu),
              "a, b");
    EXPECT_EQ(names({phase("a", {{state(1), kUpdate}}), phase("b", {{state(1), kUpdate}})}, gpu),
              "a, b");
    EXPECT_EQ(names({phase("a", {{state(1), kUpdate}}), phase("b", {{state(2), kUpdate}})}, gpu),
              "a+b");
  }
}

TEST(JoinPhases, APhaseMovesUpToTheFirstThatItCanBePartOf) {
  EXPECT_EQ(names({kFirst, phase("b", {{tensor(2), kRead}, {tensor(3), kWrite}}),
                   phase("c", {{tensor(1), kRead}, {tensor(4), kWrite}}),
                   phase("d", {{tensor(4), kRead}, {tensor(5), kWrite}}),
                   phase("e", {{tensor(3), kRead}, {tensor(5), kRead}})}),
            "a+c, b+d, e");
}

TEST(JoinPhases, APhaseHasRoomForSoManyArguments) {
  std::vector<std::pair<Buffer, Use>> half;
  for (int64_t i = 0; i < sinter::max_arguments / 2; ++i) half.emplace_back(tensor(i), kRead);
  EXPECT_EQ(names({phase("a", half), phase("b", half)}), "a+b");
  EXPECT_EQ(names({phase("a", half), phase("b", half), phase("c", {{tensor(0), kRead}})}),
            "a+b, c");
}

TEST(JoinPhases, BlocksDivideAmongPartsThatHaveThemForTheSameRows) {
  LoweredPhase other = phase("b", {{tensor(1), kRead}, {tensor(3), kWrite}});
  other.rows_per_block = 1;
  EXPECT_EQ(names({kFirst, other}, true, 1), "a+b");
  EXPECT_EQ(names({kFirst, other}, true, 8), "a, b");
  EXPECT_EQ(names({kFirst, other}, false, 8), "a+b");
  other.rows_per_block = 0;
  other.shared_bytes = 64;
  EXPECT_EQ(names({kFirst, other}, true, 8), "a+b");
  EXPECT_EQ(names({kFirst, other}, true, 512), "a, b");
  EXPECT_EQ(names({kFirst, other}, false, 512), "a+b");
}

TEST(JoinPhases, KernelsWithRegistersOfTheirOwnStayAlone) {
  for (const Kernel kernel : {Kernel::wide, Kernel::alone}) {
    const LoweredPhase other = phase("b", {{tensor(1), kRead}, {tensor(3), kWrite}}, kernel);
    EXPECT_EQ(names({kFirst, other}), "a, b");
    EXPECT_EQ(names({other, kFirst}), "b, a");
  }
}

TEST(JoinPhases, AKernelOfFewerRegistersIsOneStill) {
  const LoweredPhase other = phase("b", {{tensor(1), kRead}, {tensor(3), kWrite}}, Kernel::paired);
  for (const auto& phases : {std::vector{kFirst, other}, std::vector{other, kFirst}}) {
    const LoweredSchedule schedule = joined(phases);
    ASSERT_EQ(schedule.phases.size(), 1U);
    EXPECT_EQ(schedule.phases[0].kernel, Kernel::paired);
  }
}

TEST(JoinPhases, BlocksAreSharedOutByTheWeightsThatAllPartsRead) {
  LoweredPhase one = kFirst;
  one.blocks = 8;
  one.weight_bytes = 640;
  LoweredPhase two = phase("b", {{tensor(1), kRead}, {tensor(3), kWrite}});
  two.blocks = 1;
  two.weight_bytes = 1920;
  const auto first_part = [&](int64_t rows) {
    return joined({one, two}, true, rows).phases[0].body.substr(2, 56);
  };
  EXPECT_EQ(first_part(1), "if (const Launch part = part_of(launch, 0, 10, 40, 0); t");
  EXPECT_EQ(first_part(512), "if (const Launch part = part_of(launch, 0, 8, 9, 0); tak");
  two.weight_bytes = 0;
  EXPECT_EQ(first_part(1), "if (const Launch part = part_of(launch, 0, 8, 9, 0); tak");
}

TEST(JoinPhases, PartsAwaitThePhaseBeforeEachForItself) {
  LoweredPhase one = kFirst;
  one.blocks = 3;
  one.shared_bytes = 128;
  LoweredPhase two = phase("b", {{tensor(1), kRead}, {tensor(3), kWrite}}, Kernel::early);
  two.blocks = 5;
  two.uses[0].read_ahead = true;
  two.weight_bytes = 20;
  const LoweredSchedule schedule = joined({one, two});
  ASSERT_EQ(schedule.phases.size(), 1U);
  const LoweredPhase& both = schedule.phases[0];
  EXPECT_EQ(both.body, R"(  if (const Launch part = part_of(launch, 0, 3, 8, 0); takes_part(part)) {
    [](const Launch* launch) __attribute__((always_inline)) {
      await_phases();
      a();
    }(&part);
    barrier();  // a block of several parts uses its shared memory again
  }
  if (const Launch part = part_of(launch, 3, 5, 8, 2); takes_part(part)) {
    [](const Launch* launch) __attribute__((always_inline)) {
      b();
    }(&part);
  }
)");
  EXPECT_EQ(both.kernel, Kernel::early);
  EXPECT_EQ(both.blocks, 8);
  EXPECT_EQ(both.shared_bytes, 128);
  EXPECT_EQ(both.weight_bytes, 20);
  EXPECT_EQ(both.arguments, (std::vector<Buffer>{tensor(1), tensor(2), tensor(1), tensor(3)}));
  EXPECT_TRUE(both.uses[2].read_ahead);
  // Workers of the host have a share of each.
  EXPECT_EQ(joined({one, two}, false).phases[0].body, R"(  {
    const Launch part = part_of(launch, 0);
    [](const Launch* launch) __attribute__((always_inline)) {
      a();
    }(&part);
  }
  {
    const Launch part = part_of(launch, 2);
    [](const Launch* launch) __attribute__((always_inline)) {
      b();
    }(&part);
  }
)");
}

}  // namespace
}  // namespace sinter::codegen::test
