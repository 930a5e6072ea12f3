// Where a sequence stands.
#pragma once

#include <cstdint>

namespace sinter::runtime {

struct Sequence {
  int64_t position = 0;     // tokens so far
  int64_t written = 0;      // the most that there were, those that were taken back among them
  int64_t logits_row = -1;  // of the logits buffer, of the last token; -1: there are none
  int64_t logits_rows = 0;  // up to that one, of the last step
  uint64_t draws = 0;       // tokens drawn so far
  bool is_snapshot = false;
};

}  // namespace sinter::runtime
