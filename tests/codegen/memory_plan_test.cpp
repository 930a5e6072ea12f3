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

Use& add_use(LoweredPhase& phase, const Buffer& buffer, Access access) {
  phase.arguments.push_back(buffer);
  return phase.uses.emplace_back(Use{.access = access});
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
  std::set<Key> written, awaited;
  for (int64_t p = 0; p < phases; ++p) {
    LoweredPhase phase;
    std::set<Key> mine;
    // What was written before is mostly read, what was not is written.
    const auto use = [&](const Buffer& buffer) {
      const Key key{buffer.kind, buffer.value};
      if (!mine.insert(key).second) return;
      const bool reads = written.contains(key) && random.below(5) > 0;
      const bool back = !reads && random.below(6) == 0;
      add_use(phase, buffer, reads ? Access::read : Access::write).read_back = back;
      written.insert(key);
      if (reads || back) {
        awaited.erase(key);
      } else {
        awaited.insert(key);
      }
    };
    for (int64_t a = 0; a < 1 + random.below(5); ++a) {
      const int64_t kind = random.below(6);
      if (kind == 0) {
        add_use(phase, {Buffer::Kind::logits, 0, 0}, Access::write);
      } else if (kind == 1 && temporaries > 0) {
        use({Buffer::Kind::temporary, random.below(temporaries), 0});
      } else if (kind == 2 && !s.lowering.pinned.empty()) {
        add_use(phase, {Buffer::Kind::pinned, 0, 0}, Access::update);
      } else {
        // Mostly what was computed lately.
        const int64_t near =
            std::clamp<int64_t>(values * p / phases + random.below(6) - 3, 0, values - 1);
        use({Buffer::Kind::activation, near, 0});
      }
    }
    s.lowered().phases.push_back(std::move(phase));
  }
  LoweredPhase last;
  for (const Key& key : awaited) add_use(last, {key.first, key.second, 0}, Access::read);
  s.lowered().phases.push_back(std::move(last));
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
    const auto planned = plan_memory(s.module, s.lowering, s.lowered(), rows);
    ASSERT_TRUE(planned.ok()) << planned.status();
    const MemoryPlan& plan = *planned;

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
    if (i > 0) add_use(phase, {Buffer::Kind::activation, i - 1, 0}, Access::read);
    add_use(phase, {Buffer::Kind::activation, i, 0}, Access::write).read_back = i == 9;
    s.lowered().phases.push_back(std::move(phase));
  }
  const auto plan = plan_memory(s.module, s.lowering, s.lowered(), {4, 1});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->bytes, 2 * (48 * 4 * 4 + 64));
}

// Decode finds what is pinned where prefill left it.
TEST(MemoryPlan, PinnedBuffersLieAtTheSamePlaceInBothSchedules) {
  Random random(2);
  for (int round = 0; round < 50; ++round) {
    Schedule s = random_schedule(random);
    s.lowering.schedules.push_back(random_schedule(random).lowered());
    for (LoweredPhase& phase : s.lowering.schedules[1].phases) {
      LoweredPhase kept;
      for (size_t i = 0; i < phase.arguments.size(); ++i) {
        if (phase.arguments[i].kind == Buffer::Kind::activation) continue;
        kept.arguments.push_back(phase.arguments[i]);
        kept.uses.push_back(phase.uses[i]);
      }
      phase = std::move(kept);
    }
    const auto decode = plan_memory(s.module, s.lowering, s.lowering.schedules[0], {1, 1});
    const auto prefill = plan_memory(s.module, s.lowering, s.lowering.schedules[1], {64, 8});
    ASSERT_TRUE(decode.ok() && prefill.ok()) << decode.status() << prefill.status();
    for (const auto& [id, room] : s.lowering.pinned) {
      const Key key{Buffer::Kind::pinned, id};
      EXPECT_EQ(decode->placements.at(key).offset, prefill->placements.at(key).offset);
    }
  }
}

// Phases of decode, each of which makes these uses of values and temporaries.
struct Made {
  Buffer buffer;
  Access access;
  bool read_back = false;
};
absl::Status status_of(const std::vector<std::vector<Made>>& phases,
                       runtime::Schedule::Entry entry = runtime::Schedule::Entry::main) {
  Schedule s;
  for (int64_t i = 0; i < 3; ++i) add_tensor(s.module, 'T', 8);
  s.lowering.probe_results = {Buffer::Kind::temporary, 0, 0};
  s.lowered().temporaries[0] = {0, 64};
  s.lowered().shape = {"decode", entry, 1};
  for (const std::vector<Made>& uses : phases) {
    LoweredPhase phase;
    phase.name = fmt::format("p{}", s.lowered().phases.size());
    for (const Made& made : uses)
      add_use(phase, made.buffer, made.access).read_back = made.read_back;
    s.lowered().phases.push_back(std::move(phase));
  }
  return plan_memory(s.module, s.lowering, s.lowered(), {1, 1}).status();
}

// Of what a phase reads somebody has written, and what it writes somebody reads.
TEST(MemoryPlan, WhatNobodyWritesOrReadsIsNamed) {
  const Buffer a{Buffer::Kind::activation, 0, 0}, b{Buffer::Kind::activation, 1, 0};
  const Buffer temporary{Buffer::Kind::temporary, 0, 0};
  constexpr auto kRead = Access::read, kWrite = Access::write, kUpdate = Access::update;
  const auto message = [](const absl::Status& status) { return std::string(status.message()); };
  EXPECT_TRUE(status_of({{{a, kWrite}}, {{a, kRead}, {b, kWrite, true}}}).ok());
  EXPECT_EQ(message(status_of({{{a, kWrite}}, {{a, kRead}, {b, kRead}}})),
            "phase \"p1\" of schedule decode reads %1, which no phase before it writes");
  // Also when it writes it itself, or a later phase does.
  EXPECT_EQ(message(status_of({{{a, kWrite}, {a, kRead}}})),
            "phase \"p0\" of schedule decode reads %0, which no phase before it writes");
  EXPECT_EQ(message(status_of({{{a, kRead}}, {{a, kWrite}}, {{a, kRead}}})),
            "phase \"p0\" of schedule decode reads %0, which no phase before it writes");
  EXPECT_EQ(message(status_of({{{a, kWrite}}, {{temporary, kWrite}}, {{temporary, kRead}}})),
            "phase \"p0\" of schedule decode writes %0, which no phase reads");
  // The second time.
  EXPECT_EQ(message(status_of({{{a, kWrite}}, {{a, kRead}}, {{a, kWrite}}})),
            "phase \"p2\" of schedule decode writes %0, which no phase reads");
  EXPECT_EQ(message(status_of({{{a, kWrite}}, {{a, kUpdate}}, {{a, kRead}}})),
            "phase \"p1\" of schedule decode updates %0, which does not last from step to step");
  // The results of probes are read when all of them are there.
  const std::vector<std::vector<Made>> probes = {{{temporary, kWrite}}, {{temporary, kWrite}}};
  EXPECT_TRUE(status_of(probes, runtime::Schedule::Entry::probe).ok());
  EXPECT_EQ(message(status_of(probes)),
            "phase \"p1\" of schedule decode writes temporary 0, which no phase reads");
}

}  // namespace
}  // namespace sinter::codegen::test
