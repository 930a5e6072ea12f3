// Where a sequence stands.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace sinter::runtime {

// Which rows of the buffer of hidden states have those of a sequence, by position. The last
// position of a step lies in the row of the sequence's number, which is its own, others in rows
// that all sequences share and the next step with such rows takes.
struct HiddenStates {
  int64_t own = -1;            // position of the row of its own; -1: of none
  int64_t begin = 0, end = 0;  // positions in shared rows, ..
  int64_t row = 0;             // .. from this one on

  // The row for a position; nothing when there is none.
  std::optional<int64_t> find(int64_t position, int sequence) const {
    if (position == own) return sequence;
    if (position < begin || position >= end) return {};
    return row + position - begin;
  }
  // A step of the model has left those of these positions.
  void leave(int64_t from, int64_t to, int64_t first_shared) {
    own = to - 1;
    begin = from;
    end = to - 1;
    row = first_shared;
  }
  // The head has gone over positions up to `last`, whose row has that of the next position now.
  void advance(int64_t last) {
    if (last == own) {
      own = last + 1;
      begin = end = 0;
    } else if (last + 1 < end || own == last + 1) {
      row += last + 1 - begin;
      begin = last + 1;
    } else {
      row += last - begin;
      begin = last + 1;
      end = last + 2;
    }
  }
  void cut(int64_t position) {
    if (own >= position) own = -1;
    end = std::min(end, position);
  }
  void lose_shared() { begin = end = 0; }
};

struct Sequence {
  int64_t position = 0;     // tokens so far
  int64_t written = 0;      // the most that there were, those that were taken back among them
  int64_t logits_row = -1;  // of the logits buffer, of the last token; -1: there are none
  int64_t logits_rows = 0;  // up to that one, of the last step
  uint64_t draws = 0;       // tokens drawn so far
  HiddenStates hidden;
  int64_t drafted = 0;            // positions that the head has gone over, of the model's states
  int64_t draft_logits_row = -1;  // of the head's last row; -1: there are none
  int64_t draft_logits_rows = 0;  // up to that one
  bool is_snapshot = false;
};

}  // namespace sinter::runtime
