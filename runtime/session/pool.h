// Which pages and which place each sequence of a session has. The pool knows nothing of devices: it
// keeps the table that kernels read, and says what is to be copied.
//
// Sequences that were forked share pages, which count their users. A page is written only by a
// sequence that has it alone: before that it is copied.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime {

struct PageCopy {
  int32_t from = 0, to = 0;
};

// Positions begin..end-1 of a sequence, which are about to be written.
struct Growth {
  int sequence = 0;
  int64_t begin = 0, end = 0;
};

class Pool {
 public:
  Pool(int64_t sequences, int64_t pages_per_sequence, int64_t pages);

  int64_t sequences() const { return static_cast<int64_t>(owners_.size()); }
  int64_t pages() const { return static_cast<int64_t>(users_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  bool has(int sequence) const {
    return sequence >= 0 && sequence < sequences() && owners_[static_cast<size_t>(sequence)].live;
  }

  // A sequence without pages, the free one of the lowest number. Error: all are in use.
  Result<int> add();
  // A sequence that shares the pages of positions 0..positions-1.
  Result<int> fork(int sequence, int64_t positions);
  void remove(int sequence);
  // Gives back pages that have no position below `positions`.
  void truncate(int sequence, int64_t positions);
  // What `sequence` had goes, and it shares the pages of `from`.
  void replace(int sequence, int from);

  // Gives sequences, each named once, pages of their own for what is about to be written. Positions
  // below were written. Error: not enough pages; then nothing is changed.
  Status grow(std::span<const Growth> growths, std::vector<PageCopy>& copies);

  // [sequences][pages_per_sequence], 0 where there is none; as StepParams' kernels read it.
  std::span<const int32_t> table() const { return table_; }
  // Changes with the table.
  uint64_t version() const { return version_; }

 private:
  struct Owner {
    bool live = false;
    int64_t pages = 0;
  };

  int32_t& page(int sequence, int64_t number) {
    return table_[static_cast<size_t>(sequence * pages_per_sequence_ + number)];
  }
  int64_t users(int sequence, int64_t number) {
    return users_[static_cast<size_t>(page(sequence, number))];
  }
  void share(int to, int from, int64_t pages);
  int32_t take();
  void give_back(int32_t page);
  int64_t needed(const Growth& growth);

  int64_t pages_per_sequence_;
  std::vector<Owner> owners_;
  std::vector<int32_t> table_;
  std::vector<int32_t> users_;  // of each page
  std::vector<int32_t> free_;   // the last one is taken next
  uint64_t version_ = 0;
};

}  // namespace sinter::runtime
