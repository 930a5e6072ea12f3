// A session under a random schedule of everything that can be done with sequences, compared with
// what each of them gives alone.
//
// A sequence is its rows: tokens, each computed in a step of few rows or in a chunk, which add up
// differently. While the schedule runs, rows form a tree (a fork has its rows in common with its
// origin, what was cut or restored away stays a branch), and logits and drawn tokens are written
// down where they were seen. Then every branch is run once by itself.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "runtime/abi/kernel_abi.h"
#include "runtime/session/session.h"

namespace sinter::runtime {

struct SequenceRow {
  int32_t token = 0;
  bool in_chunk = false;
  int after_step = 0;  // tokens of the sequence after the step that it was a row of
};
// The logits of every row of a sequence that has its session to itself.
using RunAlone =
    std::function<std::vector<std::vector<float>>(const std::vector<SequenceRow>& rows)>;

class RandomSchedule {
 public:
  // Steps of so many rows give each the bits of a step of its own.
  static constexpr int64_t most_few_rows = 32;

  // `session`: of `model`, just made.
  RandomSchedule(const Model& model, Session& session, unsigned seed)
      : session_(session),
        plan_(model.device_plan()),
        vocab_size_(model.plan().vocab_size),
        random_(seed),
        pages_(session.free_pages()) {
    live_[0] = {};
  }

  void run(int operations) {
    // How many there are at a time differs more from one schedule to another than it would if they
    // came one by one.
    for (int joining = below(session_.sequences()); joining > 0; --joining)
      added(session_.add(), {});
    step(3);
    for (operation_ = 0; operation_ < operations; ++operation_) {
      one_of_all();
      expect_pages();
      if (::testing::Test::HasFailure()) return;
    }
    for (const auto& [number, sequence] : live_) EXPECT_TRUE(session_.remove(number).ok());
    EXPECT_EQ(session_.free_pages(), pages_) << "pages leaked";
  }

  // The session may have gone.
  void compare(const RunAlone& alone) const {
    std::vector<bool> has_child(nodes_.size());
    for (const Node& n : nodes_)
      if (n.parent >= 0) has_child[static_cast<size_t>(n.parent)] = true;
    std::vector<std::vector<float>> logits(nodes_.size());
    for (int leaf = 1; leaf < std::ssize(nodes_); ++leaf) {
      if (has_child[static_cast<size_t>(leaf)]) continue;
      auto rows = alone(path(leaf));
      ASSERT_EQ(std::ssize(rows), node(leaf).length);
      for (int at = leaf; at != 0; at = node(at).parent, rows.pop_back())
        logits[static_cast<size_t>(at)] = std::move(rows.back());
    }
    for (size_t i = 1; i < nodes_.size(); ++i)
      ASSERT_TRUE(nodes_[i].logits.empty() || nodes_[i].logits == logits[i])
          << "operation " << nodes_[i].operation << ": logits after " << nodes_[i].length
          << " tokens are not those of the sequence alone";
    for (const Drawn& drawn : draws_) {
      const auto token =
          sample(logits[static_cast<size_t>(drawn.node)], drawn.options, drawn.number);
      ASSERT_TRUE(token.ok()) << token.error().message;
      ASSERT_EQ(drawn.token, *token)
          << "operation " << drawn.operation << ": draw " << drawn.number << " of a sequence";
    }
  }

  // What was compared.
  int rows() const { return static_cast<int>(std::ssize(nodes_)) - 1; }
  int logits() const { return seen_logits_; }
  int cuts() const { return cuts_; }
  int draws() const { return static_cast<int>(std::ssize(draws_)); }
  // The longest of the sequences.
  std::vector<SequenceRow> longest() const {
    const auto deepest = std::ranges::max_element(nodes_, {}, &Node::length);
    return path(static_cast<int>(deepest - nodes_.begin()));
  }

 private:
  struct Node {
    int parent = -1;
    SequenceRow row;
    int length = 0;             // of the sequence that ends here
    std::vector<float> logits;  // as first seen; empty: they were not
    int operation = 0;          // that saw them
  };
  struct Drawn {
    int node = 0;  // from whose logits
    SamplingOptions options;
    uint64_t number = 0;
    int32_t token = 0;
    int operation = 0;
  };
  struct Live {
    int node = 0;
    uint64_t draws = 0;
    bool has_logits = false;
    // Its last step gave it several rows of logits, which lie where those of the next such step do.
    bool shares_logits = false;
    bool is_snapshot = false;
    int written = 0;  // its longest length since it was empty
  };
  // Tokens that a device draws ahead of a sequence's end.
  static constexpr int most_ahead = 4;

  int below(int64_t n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  int32_t token() { return below(vocab_size_); }
  std::vector<int32_t> tokens(int64_t count) {
    std::vector<int32_t> all(static_cast<size_t>(count));
    for (int32_t& t : all) t = token();
    return all;
  }
  // One of the sequences; of the snapshots where that is asked for. -1: there is none.
  int any(bool snapshot = false) {
    std::vector<int> all;
    for (const auto& [number, sequence] : live_)
      if (sequence.is_snapshot == snapshot) all.push_back(number);
    return all.empty() ? -1 : all[static_cast<size_t>(below(std::ssize(all)))];
  }
  int length(int number) const { return node(live_.at(number).node).length; }
  int room(int number) const { return static_cast<int>(session_.context()) - length(number); }
  Node& node(int number) { return nodes_[static_cast<size_t>(number)]; }
  const Node& node(int number) const { return nodes_[static_cast<size_t>(number)]; }

  void one_of_all() {
    const int number = any();
    switch (below(12)) {
      case 0:
        return added(session_.add(), {});
      case 1:
        return added(session_.fork(number), live_[number]);
      case 2: {
        Live kept = live_[number];
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
        if (below(2) == 0) drop(below(2) == 0 ? any(true) : number);
        return;
      case 5:
        return truncate(number);
      case 6:
        if (below(4) != 0) return misuse(number);
        session_.reset(number);
        live_[number] = {};
        return check(number);
      case 7:
        return prefill(number);
      case 8:
        return step(1);
      case 9:
        return step(3);
      default:
        return generate();
    }
  }

  void added(const Result<int>& made, Live sequence) {
    sequence.shares_logits = false;
    if (static_cast<int64_t>(live_.size()) == session_.sequences()) {
      EXPECT_FALSE(made.ok());
      return;
    }
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_FALSE(live_.contains(*made));
    live_[*made] = sequence;
    if (!sequence.is_snapshot) check(*made);
  }

  void drop(int number) {
    if (number < 0) return;
    const auto sequences =
        std::ranges::count_if(live_, [](const auto& l) { return !l.second.is_snapshot; });
    if (sequences == 1 && !live_[number].is_snapshot) return;
    ASSERT_TRUE(session_.remove(number).ok());
    live_.erase(number);
  }

  void truncate(int number) {
    const int before = length(number);
    // Often by a little, which most windows allow.
    const int cut = below(2) == 0 ? below(before + 1) : std::max(0, before - below(20));
    const Status status = session_.truncate(number, cut);
    Live& its = live_[number];
    if (cut != 0 && cut != before) {
      // What was drawn ahead and taken back was written, too.
      if (!can_cut(cut, its.written)) {
        EXPECT_FALSE(status.ok()) << "cut to " << cut << " of " << its.written;
      } else if (can_cut(cut, its.written + most_ahead)) {
        EXPECT_TRUE(status.ok()) << status.error().message;
      }
    } else {
      EXPECT_TRUE(status.ok()) << status.error().message;
    }
    if (!status.ok()) return check(number);
    while (node(its.node).length > cut) its.node = node(its.node).parent;
    if (cut != before) its.has_logits = its.shares_logits = false;
    if (cut == 0 && before != 0) its.written = 0;
    ++cuts_;
    check(number);
  }
  // Whether the row behind `cut` tokens finds all that it sees, when so many were ever written.
  bool can_cut(int64_t cut, int64_t written) const {
    return std::ranges::all_of(plan_.states, [&](const PlanState& s) {
      const int64_t first_seen = cut + 1 - static_cast<int64_t>(s.window);
      return s.kind == PlanState::Kind::paged ||
             (s.kind == PlanState::Kind::ring &&
              std::max<int64_t>(first_seen, 0) + static_cast<int64_t>(s.positions) >= written);
    });
  }

  void prefill(int number) {
    const int most = std::min(room(number), 90);
    if (most < 1) return;
    const std::vector<int32_t> added = tokens(1 + below(below(2) == 0 ? most : std::min(most, 9)));
    // Logits of all rows, as they are made, or the last ones.
    const bool all = below(3) == 0;
    std::vector<std::vector<float>> rows;
    const Session::LogitsSink sink = [&](std::span<const float> logits, int64_t count) {
      const auto size = logits.size() / static_cast<size_t>(count);
      for (int64_t r = 0; r < count; ++r) {
        const auto row = logits.subspan(static_cast<size_t>(r) * size, size);
        rows.emplace_back(row.begin(), row.end());
      }
    };
    const Status status = session_.prefill(added, all ? std::ssize(added) : 1,
                                           all ? sink : Session::LogitsSink(), number);
    if (!status.ok()) {
      expect_full(status);
      return check(number);
    }
    const int64_t step_rows = all ? std::min(plan_.chunk, plan_.logits_rows) : std::ssize(added);
    append(number, added, plan_.chunk > most_few_rows, step_rows);
    gave_logits(number, 1);
    if (all) {
      ASSERT_EQ(rows.size(), added.size());
      // Chunks of as many rows as there are rows of logits.
      if (rows.size() > 1) take_shared_logits();
      gave_logits(number, (std::ssize(rows) - 1) % plan_.logits_rows + 1);
      int at = live_[number].node;
      for (auto row = rows.rbegin(); row != rows.rend(); ++row, at = node(at).parent)
        saw_logits(at, *row);
    }
    check(number);
  }

  // Rows of several sequences, up to `most_each` of each.
  void step(int most_each) {
    std::vector<std::vector<int32_t>> added;
    std::vector<int> numbers;
    int rows = 0;
    for (const auto& [number, its] : live_) {
      if (its.is_snapshot || below(3) == 0) continue;
      const int count =
          std::min({1 + below(most_each), room(number), static_cast<int>(plan_.chunk) - rows});
      if (count < 1) continue;
      rows += count;
      numbers.push_back(number);
      added.push_back(tokens(count));
    }
    if (numbers.empty()) return;
    std::vector<Session::Part> parts;
    int64_t logits = 0;
    for (size_t i = 0; i < numbers.size(); ++i) {
      const int64_t most = std::min(std::ssize(added[i]), plan_.logits_rows - logits);
      const int64_t wanted = below(4) == 0 ? below(most + 1) : std::min<int64_t>(most, 1);
      logits += wanted;
      parts.push_back({numbers[i], added[i], wanted});
    }
    const Status status = session_.step(parts);
    if (!status.ok()) {
      expect_full(status);
      for (const int number : numbers) check(number);
      return;
    }
    if (std::ranges::any_of(parts, [](const auto& part) { return part.logits_rows > 1; }))
      take_shared_logits();
    for (size_t i = 0; i < numbers.size(); ++i) {
      append(numbers[i], added[i], rows > most_few_rows, std::ssize(added[i]));
      gave_logits(numbers[i], rows == 1 ? 1 : parts[i].logits_rows);
      const Live& its = live_[numbers[i]];
      if (parts[i].logits_rows > 1) {
        const auto several = session_.read_logits(numbers[i], parts[i].logits_rows);
        ASSERT_TRUE(several.ok()) << several.error().message;
        const auto size = static_cast<size_t>(vocab_size_);
        for (int at = its.node, r = static_cast<int>(parts[i].logits_rows); r-- > 0;
             at = node(at).parent)
          saw_logits(at, several->subspan(static_cast<size_t>(r) * size, size));
      }
    }
    for (const int number : numbers) check(number);
  }

  SamplingOptions options() {
    SamplingOptions o{.temperature = 0.5F + static_cast<float>(below(3)),
                      .top_k = below(3) * 4,
                      .top_p = below(3) == 0 ? 0.7F : 1.0F,
                      .seed = random_()};
    o.greedy = below(4) == 0;
    return o;
  }

  void generate() {
    std::vector<Session::Draw> wanted;
    std::vector<int> stops;
    for (const auto& [number, its] : live_) {
      if (its.is_snapshot || !its.has_logits || below(3) == 0 ||
          std::ssize(wanted) == std::min(plan_.chunk, most_few_rows))
        continue;
      const int most = std::min(room(number) + 1, 9);
      wanted.push_back({number, options(), 1 + below(most)});
      stops.push_back(1 + below(most + 3));  // the sink's own end
    }
    if (wanted.empty()) return;
    std::vector<std::vector<int32_t>> drawn(wanted.size());
    const Status status = session_.generate(wanted, [&](size_t i, int32_t t) {
      drawn[i].push_back(t);
      return std::ssize(drawn[i]) < stops[i];
    });
    if (!status.ok()) expect_full(status);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const int number = wanted[i].sequence;
      Live& its = live_[number];
      for (size_t k = 0; k < drawn[i].size(); ++k) {
        draws_.push_back({its.node, wanted[i].options, its.draws++, drawn[i][k], operation_});
        if (k + 1 == drawn[i].size()) break;
        append(number, {drawn[i][k]}, false, 1);
        gave_logits(number, 1);
      }
      if (!status.ok()) {
        // What could not go on has its last logits or none.
        its.has_logits = session_.read_logits(number).ok();
      } else {
        ASSERT_EQ(std::ssize(drawn[i]), std::min<int64_t>(wanted[i].count, stops[i]));
      }
      check(number);
    }
  }

  // A call that is wrong is an error, and nothing is changed.
  void misuse(int number) {
    const std::vector<int32_t> few = tokens(2), beyond = tokens(room(number) + 1),
                               many = tokens(plan_.chunk + 1);
    const std::vector<int32_t> foreign = {static_cast<int32_t>(vocab_size_)};
    const auto gone = static_cast<int>(session_.sequences());
    const auto step_of = [&](std::vector<Session::Part> parts) { return session_.step(parts); };
    const auto nothing = [](size_t, int32_t) { return true; };
    const int64_t free = session_.free_pages();
    Status status = Done{};
    switch (below(10)) {
      case 0:
        status = step_of({});
        break;
      case 1:
        status = step_of({{number, beyond}});
        break;
      case 2:
        status = step_of({{number, many}});
        break;
      case 3:
        status = step_of({{number, few}, {gone, few}});
        break;
      case 4:
        status = session_.truncate(number, -1);
        break;
      case 5:
        status = session_.truncate(number, length(number) + 1);
        break;
      case 6:
        status = session_.restore(number, number);
        break;
      case 7:
        status = session_.prefill(foreign, 1, {}, number);
        break;
      case 8:
        status = session_.remove(gone);
        break;
      default:
        status = session_.generate(std::vector<Session::Draw>{{number, options(), 0}}, nothing);
    }
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(session_.free_pages(), free);
    for (const auto& [other, sequence] : live_)
      if (!sequence.is_snapshot) check(other);
  }

  // In steps of so many rows.
  void append(int number, const std::vector<int32_t>& added, bool in_chunk, int64_t step_rows) {
    Live& its = live_[number];
    const int before = node(its.node).length;
    const int64_t count = std::ssize(added);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t after = std::min((i / step_rows + 1) * step_rows, count);
      nodes_.push_back(
          {.parent = its.node,
           .row = {added[static_cast<size_t>(i)], in_chunk, before + static_cast<int>(after)},
           .length = before + static_cast<int>(i) + 1,
           .logits = {}});
      its.node = static_cast<int>(std::ssize(nodes_)) - 1;
    }
    its.written = std::max(its.written, length(number));
  }
  // `rows` of logits, by its last step.
  void gave_logits(int number, int64_t rows) {
    live_[number].has_logits = rows > 0;
    live_[number].shares_logits = rows > 1;
  }
  void take_shared_logits() {
    for (auto& [number, its] : live_)
      if (std::exchange(its.shares_logits, false)) its.has_logits = false;
  }
  void expect_full(const Status& status) {
    EXPECT_NE(status.error().message.find("more positions do not fit"), std::string::npos)
        << status.error().message;
  }

  // No page is taken that no sequence has a position in.
  void expect_pages() {
    int64_t most = 0;
    for (const auto& [number, sequence] : live_)
      most += (length(number) + page_positions - 1) / page_positions;
    EXPECT_LE(pages_ - session_.free_pages(), most) << "after operation " << operation_;
  }

  void check(int number) {
    const Live& its = live_[number];
    ASSERT_EQ(session_.position(number), length(number));
    const auto logits = session_.read_logits(number);
    ASSERT_EQ(logits.ok(), its.has_logits) << "sequence " << number << ", operation " << operation_;
    if (logits.ok()) saw_logits(its.node, *logits);
  }

  void saw_logits(int number, std::span<const float> logits) {
    ++seen_logits_;
    Node& at = node(number);
    if (at.logits.empty()) {
      at.logits.assign(logits.begin(), logits.end());
      at.operation = operation_;
    }
    ASSERT_TRUE(std::ranges::equal(at.logits, logits))
        << "logits that operation " << at.operation << " saw are others after operation "
        << operation_;
  }

  std::vector<SequenceRow> path(int number) const {
    std::vector<SequenceRow> rows;
    for (; number != 0; number = node(number).parent) rows.push_back(node(number).row);
    std::ranges::reverse(rows);
    return rows;
  }

  Session& session_;
  const DevicePlan& plan_;
  int64_t vocab_size_;
  std::mt19937 random_;
  int64_t pages_;
  std::map<int, Live> live_;
  std::vector<Node> nodes_ = {{}};
  std::vector<Drawn> draws_;
  int operation_ = 0;
  int seen_logits_ = 0, cuts_ = 0;
};

}  // namespace sinter::runtime
