// A compiled model with caches and with state that has no positions, in a session of the host:
// whatever is done with its sequences, each has the bits that it has alone.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "runtime/plan/check.h"
#include "tests/codegen/compiled_model.h"
#include "tests/codegen/hybrid_model.h"

namespace sinter {
namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

// With short convolutions, and with delta rules.
class HybridSession : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    model_ = compile_and_load(name == "hybrid" ? hybrid_model() : delta_model(), nullptr, name,
                              codegen::Activations::a16)
                 .model;
    ASSERT_NE(model_, nullptr);
    session_ = create(6);
    alone_ = create(1);
  }

  std::unique_ptr<runtime::Session> create(int64_t sequences) {
    auto session = runtime::Session::create(model_, {.context = 192, .sequences = sequences});
    EXPECT_TRUE(session.ok()) << session.error().message;
    return session.ok() ? std::move(*session) : nullptr;
  }

  static Logits logits_of(runtime::Session& session, int sequence) {
    const auto row = session.read_logits(sequence);
    EXPECT_TRUE(row.ok()) << row.error().message;
    return row.ok() ? Logits(row->begin(), row->end()) : Logits();
  }

  // Of a sequence that never was with others, or anything but these tokens.
  const Logits& alone(const Tokens& tokens) {
    Logits& known = known_[tokens];
    if (!known.empty()) return known;
    alone_->reset();
    for (const int32_t token : tokens) EXPECT_TRUE(alone_->decode(token).ok());
    return known = logits_of(*alone_, 0);
  }
  void expect_alone(int sequence, const Tokens& tokens) {
    EXPECT_EQ(session_->position(sequence), std::ssize(tokens));
    EXPECT_EQ(logits_of(*session_, sequence), alone(tokens))
        << "sequence " << sequence << " of " << tokens.size() << " tokens";
  }
  void append(int sequence, Tokens& tokens, const Tokens& more) {
    for (const int32_t token : more) {
      const auto status = session_->decode(token, sequence);
      ASSERT_TRUE(status.ok()) << status.error().message;
    }
    tokens.insert(tokens.end(), more.begin(), more.end());
  }

  std::shared_ptr<runtime::Model> model_;
  std::unique_ptr<runtime::Session> session_, alone_;
  std::map<Tokens, Logits> known_;
};

TEST_P(HybridSession, PlanSaysWhatASequenceKeeps) {
  const runtime::DevicePlan& plan = model_->device_plan();
  const runtime::StateLayout layout(plan.states);
  EXPECT_EQ(layout.page_bytes, 2U * page_positions * 16 * 2);
  // Runs are padded to a multiple of 16 numbers.
  EXPECT_EQ(layout.fixed_bytes, GetParam() == std::string("hybrid")
                                    ? (3U * 64 + 2 * 48) * 4
                                    : (3U * 128 + 4 * 16 * 16 + 3 * 40 * 32) * 4);
  EXPECT_EQ(session_->state_bytes(), 6 * (3 * layout.page_bytes + layout.fixed_bytes));
  for (const runtime::Phase& phase : plan.phases_for(runtime::Schedule::Entry::main, 1)) {
    const auto& parameters = plan.kernels[phase.kernel].parameters;
    for (size_t i = 0; i < phase.arguments.size(); ++i) {
      const runtime::Argument& argument = phase.arguments[i];
      if (argument.region != runtime::Argument::Region::state) continue;
      // Attention to what another phase has appended reads alone.
      EXPECT_EQ(parameters[i].access, phase.name == "again" ? runtime::Parameter::Access::read
                                                            : runtime::Parameter::Access::update)
          << phase.name;
      EXPECT_EQ(parameters[i].bytes, plan.states[argument.index].fixed_bytes) << phase.name;
    }
  }
}

TEST_P(HybridSession, RollingBackIsAsIfTheRowsHadNeverRun) {
  Tokens tokens;
  append(0, tokens, {5, 17, 3, 40, 11});
  const auto snapshot = session_->snapshot(0);
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  const Tokens drafted = {1, 2, 3, 4, 5, 6};
  const runtime::Session::Part part{0, drafted, 3};
  ASSERT_TRUE(session_->step({&part, 1}).ok());
  Tokens wrong = tokens;
  wrong.insert(wrong.end(), drafted.begin(), drafted.end());
  expect_alone(0, wrong);
  ASSERT_TRUE(session_->restore(0, *snapshot).ok());
  expect_alone(0, tokens);
  append(0, tokens, {8, 9, 10, 11, 12});
  expect_alone(0, tokens);
  EXPECT_NE(logits_of(*session_, 0), alone({8, 9, 10, 11, 12}));
}

TEST_P(HybridSession, IsCutToNothingOrNotAtAll) {
  Tokens tokens;
  append(0, tokens, {5, 17, 3, 40, 11});
  const auto refused = session_->truncate(0, 4);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "sequence 0 cannot be cut to 4 tokens: the model keeps state that has no positions; "
            "take a snapshot before tokens that may be taken back");
  expect_alone(0, tokens);
  ASSERT_TRUE(session_->truncate(0, 0).ok());
  tokens.clear();
  append(0, tokens, {7, 7});
  expect_alone(0, tokens);
}

// Places are taken again: what was there is gone.
TEST_P(HybridSession, ANewSequenceStartsFromNothing) {
  Tokens first;
  append(0, first, {5, 17, 3});
  const auto second = session_->fork(0);
  ASSERT_TRUE(second.ok());
  Tokens forked = first;
  append(*second, forked, {9, 9});
  append(0, first, {4});
  expect_alone(0, first);
  expect_alone(*second, forked);
  ASSERT_TRUE(session_->remove(*second).ok());
  const auto third = session_->add();
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(*third, *second);
  Tokens fresh;
  append(*third, fresh, {1});
  expect_alone(*third, fresh);
}

TEST_P(HybridSession, RandomScheduleOfSequences) {
  std::mt19937 random(3);
  const auto below = [&](size_t n) { return static_cast<int>(random() % n); };
  std::map<int, Tokens> live = {{0, {}}}, snapshots;
  const auto any = [&](const std::map<int, Tokens>& all) {
    return std::next(all.begin(), below(all.size()))->first;
  };
  const int64_t pages = session_->free_pages();
  for (int i = 0; i < 400; ++i) {
    const int number = any(live);
    switch (below(8)) {
      case 0:
        if (const auto added = session_->add(); added.ok()) live[*added] = {};
        break;
      case 1:
        if (const auto forked = session_->fork(number); forked.ok()) live[*forked] = live[number];
        break;
      case 2:
        if (snapshots.size() > 1) break;
        if (const auto kept = session_->snapshot(number); kept.ok())
          snapshots[*kept] = live[number];
        break;
      case 3:
        if (snapshots.empty()) break;
        if (const int kept = any(snapshots); below(3) > 0) {
          ASSERT_TRUE(session_->restore(number, kept).ok());
          live[number] = snapshots[kept];
        } else {
          ASSERT_TRUE(session_->remove(kept).ok());
          snapshots.erase(kept);
        }
        break;
      case 4:
        if (below(3) == 0) {
          session_->reset(number);
          live[number].clear();
        } else if (live.size() > 1) {
          ASSERT_TRUE(session_->remove(number).ok());
          live.erase(number);
        }
        break;
      default: {
        std::vector<Tokens> more;
        std::vector<runtime::Session::Part> parts;
        for (const auto& [sequence, tokens] : live)
          if (below(3) > 0 && tokens.size() < 150) {
            more.emplace_back(static_cast<size_t>(1 + below(5)));
            for (int32_t& token : more.back()) token = below(kHybridVocabulary);
            parts.push_back({sequence, {}, 1});
          }
        if (parts.empty()) break;
        for (size_t p = 0; p < parts.size(); ++p) parts[p].tokens = more[p];
        const auto status = session_->step(parts);
        ASSERT_TRUE(status.ok()) << status.error().message;
        for (size_t p = 0; p < parts.size(); ++p) {
          Tokens& tokens = live[parts[p].sequence];
          tokens.insert(tokens.end(), more[p].begin(), more[p].end());
        }
      }
    }
    for (const auto& [sequence, tokens] : live)
      if (!tokens.empty()) expect_alone(sequence, tokens);
    if (HasFailure()) return;
  }
  for (const auto* all : {&live, &snapshots})
    for (const auto& [sequence, tokens] : *all) EXPECT_TRUE(session_->remove(sequence).ok());
  EXPECT_EQ(session_->free_pages(), pages);
}

// Rolling back is of use between the tokens of an answer, too.
TEST_P(HybridSession, GeneratesTheSameAfterRollingBack) {
  Tokens tokens;
  append(0, tokens, {5, 17, 3, 40, 11});
  const auto snapshot = session_->snapshot(0);
  ASSERT_TRUE(snapshot.ok());
  const auto generate = [&] {
    Tokens drawn;
    const auto status = session_->generate({.temperature = 1.0F, .seed = 7}, 20, [&](int32_t t) {
      drawn.push_back(t);
      return true;
    });
    EXPECT_TRUE(status.ok()) << status.error().message;
    return drawn;
  };
  const Tokens first = generate();
  EXPECT_EQ(first.size(), 20U);
  ASSERT_TRUE(session_->restore(0, *snapshot).ok());
  EXPECT_EQ(generate(), first);
}

INSTANTIATE_TEST_SUITE_P(Models, HybridSession, testing::Values("hybrid", "delta"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace sinter
