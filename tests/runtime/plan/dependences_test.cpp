#include "runtime/plan/dependences.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/plan/extent.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

using Access = Parameter::Access;
using Region = Argument::Region;
using Lists = std::vector<std::vector<uint32_t>>;

// A plan whose phases each have a kernel of their own, with these arguments.
struct Touch {
  Region region;
  uint64_t offset, bytes;
  Access access;
  uint32_t state = 0;
};

Lists dependences_of(const std::vector<std::vector<Touch>>& phases) {
  Plan whole;
  whole.max_context = 64;
  DevicePlan plan;
  plan.chunk = plan.logits_rows = 1;
  Schedule schedule{"decode", Schedule::Entry::main, 1, {}};
  for (const std::vector<Touch>& touches : phases) {
    Phase phase;
    phase.kernel = static_cast<uint32_t>(plan.kernels.size());
    Kernel& kernel = plan.kernels.emplace_back();
    for (const Touch& touch : touches) {
      phase.arguments.push_back({touch.region, touch.offset, touch.state});
      kernel.parameters.push_back({touch.access, touch.bytes, 0, 0, 0});
    }
    schedule.phases.push_back(std::move(phase));
  }
  return dependences(plan, schedule);
}

TEST(Dependences, ReadersWaitForTheWriterAndTheNextWriterForReaders) {
  const Touch write{Region::arena, 0, 64, Access::write};
  const Touch read{Region::arena, 0, 64, Access::read};
  const Touch update{Region::arena, 0, 64, Access::update};
  EXPECT_EQ(dependences_of({{write}, {read}, {read}, {write}}), (Lists{{}, {0}, {0}, {1, 2}}));
  EXPECT_EQ(dependences_of({{update}, {update}, {read}}), (Lists{{}, {0}, {1}}));
  EXPECT_EQ(dependences_of({{write}, {write}}), (Lists{{}, {0}}));
  EXPECT_EQ(dependences_of({{read}, {read}}), (Lists{{}, {}}));
  EXPECT_EQ(dependences_of({{write, read}, {read}}), (Lists{{}, {0}}));
}

TEST(Dependences, OnlyBytesThatOverlapCount) {
  const auto write = [](uint64_t at, uint64_t bytes) {
    return Touch{Region::arena, at, bytes, Access::write};
  };
  const auto read = [](uint64_t at, uint64_t bytes) {
    return Touch{Region::arena, at, bytes, Access::read};
  };
  EXPECT_EQ(dependences_of({{write(0, 64)}, {write(64, 64)}, {read(63, 2)}, {read(64, 8)}}),
            (Lists{{}, {}, {0, 1}, {1}}));
  // The middle is written again: both ends are still the first's.
  EXPECT_EQ(dependences_of({{write(0, 90)}, {write(30, 30)}, {read(0, 30)}, {read(60, 30)}}),
            (Lists{{}, {0}, {0}, {0}}));
}

TEST(Dependences, RegionsAndStatesAreApartAndWeightsHoldNobodyUp) {
  const auto touch = [](Region region, Access access, uint32_t state = 0) {
    return Touch{region, 0, 64, access, state};
  };
  EXPECT_EQ(dependences_of({{touch(Region::state, Access::update, 0)},
                            {touch(Region::state, Access::update, 1)},
                            {touch(Region::state, Access::read, 1)},
                            {touch(Region::arena, Access::write)},
                            {touch(Region::weights, Access::read)},
                            {touch(Region::logits, Access::write)}}),
            (Lists{{}, {}, {1}, {}, {}, {}}));
}

TEST(Dependences, WhoIsWaitedForAlreadyIsLeftOut) {
  const Touch a{Region::arena, 0, 64, Access::write};
  const Touch b{Region::arena, 64, 64, Access::write};
  const auto reads = [](Touch touch) {
    touch.access = Access::read;
    return touch;
  };
  // The last reads what both wrote, and the second has waited for the first.
  EXPECT_EQ(dependences_of({{a}, {reads(a), b}, {reads(a), reads(b)}}), (Lists{{}, {0}, {1}}));
}

TEST(Dependences, OfThePlanThatSessionsAreTestedWith) {
  Plan plan = toy::description();
  const DevicePlan& device = plan.device_plans[0];
  for (const Schedule& schedule : device.schedules)
    EXPECT_EQ(dependences(device, schedule), (Lists{{}, {0}, {1}})) << schedule.name;
}

// Every pair that conflicts is ordered, by however many steps, and no other edge is listed.
TEST(Dependences, RandomSchedulesAreOrderedAsTheirConflictsAre) {
  std::mt19937 random(5);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::vector<Touch>> phases(1 + below(14));
    for (auto& touches : phases)
      for (uint32_t i = 0; i < 1 + below(3); ++i)
        touches.push_back({below(4) == 0 ? Region::state : Region::arena, below(12), 1 + below(6),
                           static_cast<Access>(below(3)), static_cast<uint32_t>(below(2))});
    const auto conflict = [&](size_t i, size_t j) {
      for (const Touch& a : phases[i])
        for (const Touch& b : phases[j]) {
          const bool same =
              a.region == b.region && (a.region != Region::state || a.state == b.state);
          if (same && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes &&
              (a.access != Access::read || b.access != Access::read))
            return true;
        }
      return false;
    };
    const Lists lists = dependences_of(phases);
    std::vector<std::vector<bool>> after(phases.size(), std::vector<bool>(phases.size()));
    for (size_t j = 0; j < phases.size(); ++j)
      for (const uint32_t i : lists[j]) {
        ASSERT_LT(i, j);
        EXPECT_TRUE(conflict(i, j)) << round;
        EXPECT_FALSE(after[j][i]) << round << ": " << i << " is listed without need";
        after[j][i] = true;
        for (size_t k = 0; k < i; ++k) after[j][k] = after[j][k] || after[i][k];
      }
    for (size_t j = 0; j < phases.size(); ++j)
      for (size_t i = 0; i < j; ++i)
        if (conflict(i, j)) EXPECT_TRUE(after[j][i]) << round << ": " << i << " before " << j;
  }
}

}  // namespace
}  // namespace sinter::runtime
