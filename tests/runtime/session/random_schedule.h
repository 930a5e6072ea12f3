// A session of the toy model under a random schedule of what can be done with sequences, compared
// with what each sequence would give alone.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "runtime/session/session.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime::toy {

class RandomSchedule {
 public:
  // `session` has just been made; sequences can be cut unless its model has fixed state.
  RandomSchedule(Session& session, bool can_truncate, unsigned seed)
      : session_(session),
        can_truncate_(can_truncate),
        random_(seed),
        pages_(session.free_pages()) {
    live_[0] = {};
  }

  void run(int operations) {
    for (int i = 0; i < operations; ++i) {
      one_of_all();
      if (::testing::Test::HasFailure()) return;
    }
    for (const auto& [number, tokens] : live_) EXPECT_TRUE(session_.remove(number).ok());
    EXPECT_EQ(session_.free_pages(), pages_) << "pages leaked";
  }

  int steps() const { return steps_; }

 private:
  struct Tokens {
    std::vector<int32_t> tokens;
    uint64_t draws = 0;
    bool has_logits = false;
    bool is_snapshot = false;
  };

  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  int32_t token() { return below(vocab); }
  // One of the sequences; of the snapshots where that is asked for. -1: there is none.
  int any(bool snapshot = false) {
    std::vector<int> all;
    for (const auto& [number, tokens] : live_)
      if (tokens.is_snapshot == snapshot) all.push_back(number);
    return all.empty() ? -1 : all[static_cast<size_t>(below(static_cast<int>(all.size())))];
  }
  int room(int number) const {
    return static_cast<int>(session_.context() - std::ssize(live_.at(number).tokens));
  }

  void one_of_all() {
    const int number = any();
    switch (below(9)) {
      case 0:
        return added(session_.add(), {});
      case 1:
        return added(session_.fork(number), live_[number]);
      case 2: {
        Tokens kept = live_[number];
        kept.is_snapshot = true;
        return added(session_.snapshot(number), kept);
      }
      case 3:
        if (const int snapshot = any(true); snapshot >= 0) {
          ASSERT_TRUE(session_.restore(number, snapshot).ok());
          live_[number] = live_[snapshot];
          live_[number].is_snapshot = false;
          check(number);
        }
        return;
      case 4:
        if (live_.size() > 1 && below(2) == 0) drop(below(2) == 0 ? any(true) : number);
        return;
      case 5:
        return truncate(number);
      case 6:
        return prefill(number);
      case 7:
        return step();
      default:
        return generate();
    }
  }

  void added(const Result<int>& made, const Tokens& tokens) {
    if (static_cast<int64_t>(live_.size()) == session_.sequences()) {
      EXPECT_FALSE(made.ok());
      return;
    }
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_FALSE(live_.contains(*made));
    live_[*made] = tokens;
    if (!tokens.is_snapshot) check(*made);
  }

  void drop(int number) {
    if (number < 0) return;
    size_t sequences = 0;
    for (const auto& [n, tokens] : live_) sequences += tokens.is_snapshot ? 0 : 1;
    if (sequences == 1 && !live_[number].is_snapshot) return;
    ASSERT_TRUE(session_.remove(number).ok());
    live_.erase(number);
  }

  void truncate(int number) {
    Tokens& its = live_[number];
    const int length = static_cast<int>(its.tokens.size());
    const int cut = below(length + 1);
    const Status status = session_.truncate(number, cut);
    if (!can_truncate_ && cut != 0 && cut != length) {
      EXPECT_FALSE(status.ok());
      return check(number);
    }
    ASSERT_TRUE(status.ok()) << status.error().message;
    its.tokens.resize(static_cast<size_t>(cut));
    if (cut != length) its.has_logits = false;
    check(number);
  }

  void prefill(int number) {
    const int most = std::min(room(number), 90);
    if (most < 1) return;
    std::vector<int32_t> tokens(static_cast<size_t>(1 + below(most)));
    for (int32_t& t : tokens) t = token();
    const Status status = session_.prefill(tokens, 1, {}, number);
    if (!status.ok()) return expect_full(status);
    append(number, tokens);
    check(number);
  }

  // Rows of several sequences.
  void step() {
    std::vector<std::vector<int32_t>> tokens;
    std::vector<int> numbers;
    int rows = 0;
    for (const auto& [number, its] : live_) {
      if (its.is_snapshot || below(2) == 0) continue;
      const int count = std::min({1 + below(2), room(number), static_cast<int>(chunk) - rows});
      if (count < 1) continue;
      rows += count;
      numbers.push_back(number);
      tokens.emplace_back();
      for (int i = 0; i < count; ++i) tokens.back().push_back(token());
    }
    if (numbers.empty()) return;
    std::vector<Session::Part> parts;
    int logits = 0;
    for (size_t i = 0; i < numbers.size(); ++i) {
      const int wanted = logits < logits_rows ? below(2) : 0;
      logits += wanted;
      parts.push_back({numbers[i], tokens[i], wanted});
    }
    const Status status = session_.step(parts);
    if (!status.ok()) return expect_full(status);
    for (size_t i = 0; i < numbers.size(); ++i) {
      append(numbers[i], tokens[i]);
      live_[numbers[i]].has_logits = parts[i].logits_rows > 0 || rows == 1;
      check(numbers[i]);
    }
  }

  void generate() {
    std::vector<Session::Draw> draws;
    std::vector<int> stops;
    for (const auto& [number, its] : live_) {
      if (its.is_snapshot || !its.has_logits || below(3) == 0 || std::ssize(draws) == chunk)
        continue;
      const int most = std::min(room(number) + 1, 12);
      SamplingOptions options{.temperature = 0.5F + static_cast<float>(below(3)),
                              .top_k = below(3) * 4,
                              .seed = random_()};
      options.greedy = below(4) == 0;
      draws.push_back({number, options, 1 + below(most)});
      stops.push_back(1 + below(most + 3));  // the sink's own end
    }
    if (draws.empty()) return;
    std::vector<std::vector<int32_t>> drawn(draws.size());
    const Status status = session_.generate(draws, [&](size_t i, int32_t t) {
      drawn[i].push_back(t);
      return std::ssize(drawn[i]) < stops[i];
    });
    if (!status.ok()) expect_full(status);
    for (size_t i = 0; i < draws.size(); ++i) {
      Tokens& its = live_[draws[i].sequence];
      for (size_t k = 0; k < drawn[i].size(); ++k) {
        const auto wanted = sample(logits_of(its), draws[i].options, its.draws++);
        ASSERT_TRUE(wanted.ok());
        ASSERT_EQ(drawn[i][k], *wanted) << "draw " << k << " of sequence " << draws[i].sequence;
        if (k + 1 < drawn[i].size()) append(draws[i].sequence, {drawn[i][k]});
      }
      if (!status.ok()) {
        // What could not go on has its last logits or none.
        its.has_logits = session_.read_logits(draws[i].sequence).ok();
      } else {
        ASSERT_EQ(std::ssize(drawn[i]), std::min<int64_t>(draws[i].count, stops[i]));
      }
      check(draws[i].sequence);
    }
  }

  static std::vector<float> logits_of(const Tokens& its) {
    return expected_logits(its.tokens, weights(), std::ssize(its.tokens));
  }
  void append(int number, const std::vector<int32_t>& tokens) {
    Tokens& its = live_[number];
    its.tokens.insert(its.tokens.end(), tokens.begin(), tokens.end());
    its.has_logits = true;
    ++steps_;
  }
  void expect_full(const Status& status) {
    EXPECT_NE(status.error().message.find("more positions do not fit"), std::string::npos)
        << status.error().message;
  }

  void check(int number) {
    const Tokens& its = live_[number];
    ASSERT_EQ(session_.position(number), std::ssize(its.tokens));
    const auto logits = session_.read_logits(number);
    ASSERT_EQ(logits.ok(), its.has_logits) << "sequence " << number;
    if (logits.ok())
      ASSERT_TRUE(std::ranges::equal(*logits, logits_of(its))) << "sequence " << number;
  }

  Session& session_;
  bool can_truncate_;
  std::mt19937 random_;
  int64_t pages_;
  std::map<int, Tokens> live_;
  int steps_ = 0;
};

}  // namespace sinter::runtime::toy
