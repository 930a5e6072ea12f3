// The table of a step (kernel_abi.h), as kernels read it. Whoever includes this has defined
// SINTER_INLINE and SINTER_MEMBER.
#pragma once

#include "elements.h"
#include "kernel_abi.h"

namespace sinter {

SINTER_INLINE StepRow* step_rows(StepParams* step) { return reinterpret_cast<StepRow*>(step + 1); }
SINTER_INLINE const StepRow* step_rows(const Launch* launch) {
  return reinterpret_cast<const StepRow*>(launch->step + 1);
}
// The rows that have logits, in order.
SINTER_INLINE const int* rows_with_logits(const Launch* launch) {
  return reinterpret_cast<const int*>(step_rows(launch) + launch->step->most_rows);
}
// Of each row, which row of the hidden states it reads and leaves.
SINTER_INLINE const int* hidden_rows(const Launch* launch) {
  return rows_with_logits(launch) + launch->step->most_rows;
}
// The row of the logits buffer for row `r` of those that have logits.
SINTER_INLINE index logits_place(const Launch* launch, index r) {
  return step_rows(launch)[rows_with_logits(launch)[r]].logits;
}

// The row of a table that a row of the step names, by its token or its position. Of a table of
// `Rows` what is beyond has row 0; 0: nothing is.
template <bool ByPosition, int Rows>
SINTER_INLINE index table_row(const StepRow& row) {
  const index named = ByPosition ? row.position : row.token;
  return Rows > 0 && named >= Rows ? 0 : named;
}

// Which row of a tensor stands at a place: those of a list, or without one every row.
struct RowMap {
  const int* list;
  SINTER_MEMBER index operator()(index r) const { return list == nullptr ? r : list[r]; }
};

// Paged state of one sequence. PageBytes: of a page of all paged states together.
template <index PageBytes>
struct Pages {
  const int* numbers;  // of its pages, in order

  static SINTER_MEMBER Pages of(const Launch* launch, index sequence) {
    return {launch->pages + sequence * launch->pages_per_sequence};
  }
  // The number of the page that has a position.
  SINTER_MEMBER int number(index position) const { return numbers[position / page_positions]; }
  // The part that a state has of it; `first` is the state's first.
  template <index StateBytes>
  SINTER_MEMBER u8* numbered(u8* first, int number) const {
    return first + number * PageBytes;
  }
};

// The same of a ring of `Count` pages. SequenceBytes: of all state that a sequence has a place for.
template <index SequenceBytes, int Count>
struct Ring {
  index place;  // bytes from the place of sequence 0

  static SINTER_MEMBER Ring of(const Launch*, index sequence) { return {sequence * SequenceBytes}; }
  SINTER_MEMBER int number(index position) const {
    return static_cast<int>(position / page_positions % Count);
  }
  template <index StateBytes>
  SINTER_MEMBER u8* numbered(u8* first, int number) const {
    return first + place + number * StateBytes;
  }
};

// State of sequences that has no positions, in runs of `Run` numbers. SequenceBytes: all such state
// of a sequence, one after another.
template <index Run, index SequenceBytes>
struct FixedState {
  float* first;  // the state of sequence 0

  static constexpr index run_bytes = Run * static_cast<index>(sizeof(float));
  SINTER_MEMBER float* run(index sequence, index number) const {
    return first + sequence * (SequenceBytes / static_cast<index>(sizeof(float))) + number * Run;
  }
};

}  // namespace sinter
