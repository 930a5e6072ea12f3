// Which phases become one.
#include "codegen/schedule/side_by_side.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sinter::codegen::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kernel = LoweredPhase::Kernel;

constexpr Buffer activation(int64_t number) { return {Buffer::Kind::activation, number, 0}; }

// Reads some values and writes one.
LoweredPhase phase(const std::string& name, const std::vector<int64_t>& reads, int64_t writes,
                   int64_t blocks = 4, Kernel kernel = Kernel::early) {
  LoweredPhase out;
  out.name = name;
  out.body = "  body_of_" + name + "(launch);\n";
  out.blocks = blocks;
  out.kernel = kernel;
  for (const int64_t value : reads) {
    out.arguments.push_back(activation(value));
    out.uses.push_back({.access = Access::read});
  }
  out.arguments.push_back(activation(writes));
  out.uses.push_back({.access = Access::write});
  return out;
}

LoweredSchedule joined(std::vector<LoweredPhase> phases) {
  LoweredSchedule schedule;
  schedule.phases = std::move(phases);
  join_side_by_side(schedule);
  return schedule;
}
std::vector<std::string> names(const LoweredSchedule& schedule) {
  std::vector<std::string> out;
  for (const LoweredPhase& of : schedule.phases) out.push_back(of.name);
  return out;
}

TEST(SideBySide, SmallPhasesThatNeedNothingOfEachOther) {
  const LoweredSchedule schedule =
      joined({phase("a", {1}, 2, 5), phase("b", {1, 3}, 4, 6, Kernel::plain)});
  ASSERT_THAT(names(schedule), ElementsAre("a beside b"));
  const LoweredPhase& both = schedule.phases[0];
  EXPECT_EQ(both.blocks, 11);
  EXPECT_EQ(both.kernel, Kernel::early);
  EXPECT_EQ(both.arguments.size(), 5U);
  EXPECT_EQ(both.uses.size(), 5U);
  EXPECT_THAT(both.body, HasSubstr("part_of(launch, 0, 5, 11)"));
  EXPECT_THAT(both.body, HasSubstr("part_of(launch, 5, 6, 11)"));
  EXPECT_THAT(both.body, HasSubstr("mine.args += 2;"));  // those of b are behind those of a
  EXPECT_THAT(both.body, HasSubstr("await_phases();\n  body_of_b"));
}

TEST(SideBySide, WhatAPhaseNeedsComesBeforeIt) {
  EXPECT_THAT(names(joined({phase("a", {1}, 2), phase("reads", {2}, 3)})),
              ElementsAre("a", "reads"));
  EXPECT_THAT(names(joined({phase("a", {1}, 2), phase("writes_what_a_reads", {3}, 1)})),
              ElementsAre("a", "writes_what_a_reads"));
  EXPECT_THAT(names(joined({phase("a", {1}, 2), phase("writes_the_same", {3}, 2)})),
              ElementsAre("a", "writes_the_same"));
  // Past one that it needs nothing of, no further than one that it does.
  EXPECT_THAT(names(joined({phase("a", {1}, 2), phase("b", {2}, 3, 100), phase("c", {1}, 4)})),
              ElementsAre("a beside c", "b"));
  EXPECT_THAT(names(joined({phase("a", {1}, 2), phase("b", {2}, 3, 100), phase("c", {3}, 4)})),
              ElementsAre("a", "b", "c"));
}

TEST(SideBySide, LargePhasesAndThoseWithRegistersOfTheirOwnStayAlone) {
  EXPECT_THAT(names(joined({phase("a", {1}, 2, 60), phase("b", {1}, 3, 5)})),
              ElementsAre("a", "b"));
  for (const Kernel kernel : {Kernel::wide, Kernel::alone, Kernel::paired})
    EXPECT_THAT(names(joined({phase("a", {1}, 2, 5, kernel), phase("b", {1}, 3, 5)})),
                ElementsAre("a", "b"));
  // More arguments than a phase may have.
  EXPECT_THAT(names(joined({phase("a", {1, 2, 3, 4, 5, 6, 7, 8}, 20),
                            phase("b", {1, 2, 3, 4, 5, 6, 7, 8}, 21)})),
              ElementsAre("a", "b"));
}

TEST(SideBySide, MoreThanTwo) {
  EXPECT_THAT(names(joined({phase("q", {1}, 2), phase("k", {1}, 3), phase("v", {1}, 4)})),
              ElementsAre("q beside k beside v"));
}

}  // namespace
}  // namespace sinter::codegen::test
