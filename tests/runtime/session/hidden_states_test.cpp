// Where the hidden states of a sequence are found, whatever steps, drafts and cuts came before.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "runtime/session/sequence.h"

namespace sinter::runtime {
namespace {

constexpr int kSequence = 2;
constexpr int64_t kShared = 5;  // the first row that is of no sequence

TEST(HiddenStates, OfAStepTheLastIsInTheSequencesOwnRow) {
  HiddenStates states;
  EXPECT_FALSE(states.find(0, kSequence));
  states.leave(10, 14, kShared);
  EXPECT_EQ(states.find(10, kSequence), kShared);
  EXPECT_EQ(states.find(12, kSequence), kShared + 2);
  EXPECT_EQ(states.find(13, kSequence), kSequence);
  EXPECT_FALSE(states.find(9, kSequence));
  EXPECT_FALSE(states.find(14, kSequence));
  states.lose_shared();
  EXPECT_FALSE(states.find(12, kSequence));
  EXPECT_EQ(states.find(13, kSequence), kSequence);
  states.leave(14, 15, kShared);
  EXPECT_EQ(states.find(14, kSequence), kSequence);
  EXPECT_FALSE(states.find(13, kSequence));
}

TEST(HiddenStates, DraftsGoOnInTheRowThatTheyRead) {
  HiddenStates states;
  states.leave(10, 14, kShared);
  states.advance(11);
  EXPECT_FALSE(states.find(11, kSequence));
  EXPECT_EQ(states.find(12, kSequence), kShared + 2);
  states.advance(13);
  EXPECT_EQ(states.find(14, kSequence), kSequence);
  EXPECT_FALSE(states.find(12, kSequence));
  states.advance(14);
  EXPECT_EQ(states.find(15, kSequence), kSequence);
  EXPECT_FALSE(states.find(14, kSequence));
}

// Of five rows that were read three are taken back: the drafts go on behind the second.
TEST(HiddenStates, ACutLeavesWhatIsBefore) {
  HiddenStates states;
  states.leave(10, 15, kShared);
  states.cut(12);
  EXPECT_EQ(states.find(11, kSequence), kShared + 1);
  EXPECT_FALSE(states.find(12, kSequence));
  EXPECT_FALSE(states.find(14, kSequence));
  states.advance(11);
  EXPECT_EQ(states.find(12, kSequence), kShared + 1);
  EXPECT_FALSE(states.find(11, kSequence));
  states.advance(12);
  EXPECT_EQ(states.find(13, kSequence), kShared + 1);
  states.cut(0);
  EXPECT_FALSE(states.find(13, kSequence));
}

// Against a map from rows to positions.
TEST(HiddenStates, AgreeWithWhatRowsHold) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int64_t n) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
    };
    HiddenStates states;
    std::map<int64_t, int64_t> held;  // row -> position
    int64_t position = 0;
    for (int i = 0; i < 30; ++i) {
      if (below(3) == 0) {
        const int64_t rows = 1 + below(6);
        held.clear();
        for (int64_t r = 0; r + 1 < rows; ++r) held[kShared + r] = position + r;
        held[kSequence] = position + rows - 1;
        states.leave(position, position + rows, kShared);
        position += rows;
      } else if (below(4) == 0 && position > 0) {
        position = below(position + 1);
        states.cut(position);
        std::erase_if(held, [&](const auto& row) { return row.second >= position; });
      } else {
        // The head goes over positions from the first on.
        int64_t first = INT64_MAX;
        for (const auto& [row, at] : held) first = std::min(first, at);
        if (held.empty()) continue;
        int64_t last = first;
        while (below(2) == 0 && states.find(last + 1, kSequence)) ++last;
        for (int64_t p = first; p <= last; ++p) {
          const auto row = states.find(p, kSequence);
          ASSERT_TRUE(row) << p;
          ASSERT_EQ(held.at(*row), p);
          held.erase(*row);
          if (p == last && !states.find(p + 1, kSequence)) held[*row] = p + 1;
        }
        states.advance(last);
      }
      for (const auto& [row, at] : held) EXPECT_EQ(states.find(at, kSequence), row) << seed;
      for (int64_t p = 0; p < position + 8; ++p)
        if (const auto row = states.find(p, kSequence)) EXPECT_EQ(held.at(*row), p) << seed;
    }
  }
}

}  // namespace
}  // namespace sinter::runtime
