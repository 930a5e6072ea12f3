// The arena planner on random schedules: whatever lives at the same time lies apart.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "codegen/schedule/memory.h"
#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {
namespace {

using Key = std::pair<Buffer::Kind, int64_t>;

struct Schedule {
  ir::Module module;
  Lowering lowering;
  Schedule() { lowering.schedules.resize(1); }
  LoweredSchedule& lowered() { return lowering.schedules[0]; }
};

ir::ValueId add_tensor(ir::Module& module, char rows, int64_t width) {
  return module.add_value(
      {ir::ValueKind::result, ir::TensorType{ir::DType::f32, {ir::Dim::of(rows), width}}, ""});
}

Schedule random_schedule(Random& random) {
  Schedule s;
  const int64_t values = 1 + random.below(30);
  for (int64_t i = 0; i < values; ++i)
    add_tensor(s.module, random.below(4) == 0 ? 'L' : 'T', 1 + random.below(300));
  const int64_t temporaries = random.below(8);
  for (int64_t i = 0; i < temporaries; ++i)
    s.lowered().temporaries[i] = {random.below(500), random.below(100)};
  for (int64_t i = 0; i < random.below(3); ++i) s.lowering.pinned[i] = {0, 1 + random.below(1000)};
  const int64_t phases = 1 + random.below(25);
  for (int64_t p = 0; p < phases; ++p) {
    LoweredPhase phase;
    for (int64_t a = 0; a < 1 + random.below(5); ++a) {
      const int64_t kind = random.below(6);
      if (kind == 0) {
        phase.arguments.push_back({Buffer::Kind::logits, 0, 0});
      } else if (kind == 1 && temporaries > 0) {
        phase.arguments.push_back({Buffer::Kind::temporary, random.below(temporaries), 0});
      } else if (kind == 2 && !s.lowering.pinned.empty()) {
        phase.arguments.push_back({Buffer::Kind::pinned, 0, 0});
      } else {
        // Mostly what was computed lately.
        const int64_t near =
            std::clamp<int64_t>(values * p / phases + random.below(6) - 3, 0, values - 1);
        phase.arguments.push_back({Buffer::Kind::activation, near, 0});
      }
    }
    s.lowered().phases.push_back(std::move(phase));
  }
  return s;
}

int64_t bytes_of(const Schedule& s, const LoweredSchedule& schedule, const Key& key,
                 StepRows rows) {
  if (key.first == Buffer::Kind::pinned) return s.lowering.pinned.at(key.second).fixed_bytes;
  if (key.first == Buffer::Kind::temporary) {
    const Room& room = schedule.temporaries.at(key.second);
    return room.bytes_per_row * rows.tokens + room.fixed_bytes;
  }
  const auto& shape = s.module.tensor(static_cast<ir::ValueId>(key.second)).shape;
  return shape[1].value * 4 * (shape[0].symbol == 'L' ? rows.logits : rows.tokens);
}

TEST(MemoryPlan, BuffersThatLiveTogetherLieApart) {
  Random random(1);
  for (int round = 0; round < 500; ++round) {
    SCOPED_TRACE(round);
    Schedule s = random_schedule(random);
    const StepRows rows{1 + random.below(40), 1 + random.below(5)};
    const MemoryPlan plan = plan_memory(s.module, s.lowering, s.lowered(), rows);

    // Lives, found here a second time. Pinned buffers live always.
    std::map<Key, std::pair<size_t, size_t>> lives;
    for (const auto& [id, room] : s.lowering.pinned)
      lives[{Buffer::Kind::pinned, id}] = {0, s.lowered().phases.size()};
    for (size_t p = 0; p < s.lowered().phases.size(); ++p)
      for (const Buffer& b : s.lowered().phases[p].arguments)
        if (b.kind == Buffer::Kind::activation || b.kind == Buffer::Kind::temporary)
          lives.emplace(Key{b.kind, b.value}, std::pair{p, p}).first->second.second = p;

    ASSERT_EQ(plan.placements.size(), lives.size());
    int64_t end = 0, sum = 0;
    for (const auto& [key, live] : lives) {
      ASSERT_TRUE(plan.placements.contains(key));
      const Placement& a = plan.placements.at(key);
      EXPECT_EQ(a.offset % 64, 0);
      EXPECT_GE(a.offset, 0);
      // 64 bytes behind every buffer may be read.
      EXPECT_GE(a.bytes, bytes_of(s, s.lowered(), key, rows) + 64);
      EXPECT_EQ(std::pair(a.first, a.last), live);
      end = std::max(end, a.offset + a.bytes);
      sum += a.bytes;
      for (const auto& [other, other_live] : lives) {
        if (other == key || live.second < other_live.first || other_live.second < live.first)
          continue;
        const Placement& b = plan.placements.at(other);
        EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset)
            << a.name << " at " << a.offset << " of " << a.bytes << ", " << b.name << " at "
            << b.offset;
      }
    }
    EXPECT_EQ(plan.bytes, end);
    EXPECT_LE(plan.bytes, sum);
  }
}

TEST(MemoryPlan, ChainOfEqualBuffersNeedsRoomForTwo) {
  Schedule s;
  for (int64_t i = 0; i < 10; ++i) {
    add_tensor(s.module, 'T', 48);
    LoweredPhase phase;
    if (i > 0) phase.arguments.push_back({Buffer::Kind::activation, i - 1, 0});
    phase.arguments.push_back({Buffer::Kind::activation, i, 0});
    s.lowered().phases.push_back(std::move(phase));
  }
  EXPECT_EQ(plan_memory(s.module, s.lowering, s.lowered(), {4, 1}).bytes, 2 * (48 * 4 * 4 + 64));
}

// Decode finds what is pinned where prefill left it.
TEST(MemoryPlan, PinnedBuffersLieAtTheSamePlaceInBothSchedules) {
  Random random(2);
  for (int round = 0; round < 50; ++round) {
    Schedule s = random_schedule(random);
    s.lowering.schedules.push_back(random_schedule(random).lowered());
    for (LoweredPhase& phase : s.lowering.schedules[1].phases)
      std::erase_if(phase.arguments,
                    [](const Buffer& b) { return b.kind == Buffer::Kind::activation; });
    const MemoryPlan decode = plan_memory(s.module, s.lowering, s.lowering.schedules[0], {1, 1});
    const MemoryPlan prefill = plan_memory(s.module, s.lowering, s.lowering.schedules[1], {64, 8});
    for (const auto& [id, room] : s.lowering.pinned) {
      const Key key{Buffer::Kind::pinned, id};
      EXPECT_EQ(decode.placements.at(key).offset, prefill.placements.at(key).offset);
    }
  }
}

}  // namespace
}  // namespace sinter::codegen::test
