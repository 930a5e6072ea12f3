// Pages of sequences that are added, forked, cut and removed at random.
#include "runtime/session/pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "runtime/abi/kernel_abi.h"

namespace sinter::runtime {
namespace {

// What each position of a sequence holds: a number of its own, written once.
using Written = std::vector<int>;

TEST(Pool, SequencesKeepWhatTheyWroteAndNoPageIsLost) {
  constexpr int64_t kSequences = 6, kPagesPerSequence = 4, kPages = 12;
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int64_t n) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
    };
    Pool pool(kSequences, kPagesPerSequence, kPages);
    std::vector<int> memory(static_cast<size_t>(kPages * page_positions));
    std::map<int, Written> live;
    int next = 1;
    const auto place = [&](int sequence, int64_t position) -> int& {
      const int32_t page = pool.table()[static_cast<size_t>(sequence * kPagesPerSequence +
                                                            position / page_positions)];
      return memory[static_cast<size_t>(page * page_positions + position % page_positions)];
    };
    const auto any = [&] {
      auto at = live.begin();
      std::advance(at, below(std::ssize(live)));
      return at->first;
    };
    for (int i = 0; i < 60; ++i) {
      switch (live.empty() ? 0 : below(6)) {
        case 0:
          if (const auto added = pool.add(); added.ok())
            live[*added] = {};
          else
            EXPECT_EQ(std::ssize(live), kSequences);
          break;
        case 1: {
          const int from = any();
          if (const auto copy = pool.fork(from, std::ssize(live[from])); copy.ok())
            live[*copy] = live[from];
          break;
        }
        case 2: {
          const int gone = any();
          pool.remove(gone);
          live.erase(gone);
          EXPECT_FALSE(pool.has(gone));
          break;
        }
        case 3: {
          const int cut = any();
          live[cut].resize(static_cast<size_t>(below(std::ssize(live[cut]) + 1)));
          pool.truncate(cut, std::ssize(live[cut]));
          break;
        }
        case 4: {
          const int to = any(), from = any();
          pool.replace(to, from);
          live[to] = live[from];
          break;
        }
        default: {
          // Some sequences grow together, or none does.
          std::vector<Growth> growths;
          for (const auto& [sequence, written] : live) {
            const int64_t most = kPagesPerSequence * page_positions - std::ssize(written);
            if (most > 0 && below(2) == 0)
              growths.push_back({sequence, std::ssize(written),
                                 std::ssize(written) + 1 + below(std::min<int64_t>(most, 100))});
          }
          const int64_t free = pool.free_pages();
          const uint64_t version = pool.version();
          std::vector<PageCopy> copies;
          if (!pool.grow(growths, copies).ok()) {
            EXPECT_EQ(pool.free_pages(), free);
            EXPECT_EQ(pool.version(), version);
            EXPECT_TRUE(copies.empty());
            break;
          }
          for (const PageCopy& copy : copies)
            for (int64_t p = 0; p < page_positions; ++p)
              memory[static_cast<size_t>(copy.to * page_positions + p)] =
                  memory[static_cast<size_t>(copy.from * page_positions + p)];
          for (const Growth& growth : growths)
            for (int64_t p = growth.begin; p < growth.end; ++p) {
              live[growth.sequence].push_back(next);
              place(growth.sequence, p) = next++;
            }
        }
      }
      for (const auto& [sequence, written] : live)
        for (size_t p = 0; p < written.size(); ++p)
          ASSERT_EQ(place(sequence, static_cast<int64_t>(p)), written[p])
              << "seed " << seed << ", sequence " << sequence << ", position " << p;
    }
    for (const auto& [sequence, written] : live) pool.remove(sequence);
    EXPECT_EQ(pool.free_pages(), kPages) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sinter::runtime
