// The table of a step (kernel_abi.h) as bytes: on the host it is what kernels read, for a GPU it is
// copied there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "runtime/abi/kernel_abi.h"

namespace sinter::runtime {

// Of a table with room for so many rows.
inline uint64_t step_table_bytes(int64_t most_rows) {
  return sizeof(StepParams) +
         static_cast<uint64_t>(most_rows) * (sizeof(StepRow) + 2 * sizeof(int32_t));
}

// Writes the table of a step to `to`, which has step_table_bytes(most_rows). `hidden`: of each row,
// the row of the hidden states; where it is empty that which belongs to the row's sequence.
inline void write_step_table(uint8_t* to, int64_t most_rows, std::span<const StepRow> rows,
                             std::span<const int32_t> hidden = {}) {
  auto* const with_logits = reinterpret_cast<int32_t*>(
      to + sizeof(StepParams) + static_cast<uint64_t>(most_rows) * sizeof(StepRow));
  int logits_rows = 0;
  for (size_t r = 0; r < rows.size(); ++r)
    if (rows[r].logits >= 0) with_logits[logits_rows++] = static_cast<int32_t>(r);
  for (size_t r = 0; r < rows.size(); ++r)
    with_logits[static_cast<size_t>(most_rows) + r] = hidden.empty() ? rows[r].sequence : hidden[r];
  const StepParams step{.rows = static_cast<int>(rows.size()),
                        .logits_rows = logits_rows,
                        .most_rows = static_cast<int>(most_rows),
                        .unused = 0};
  std::memcpy(to, &step, sizeof step);
  std::memcpy(to + sizeof step, rows.data(), rows.size_bytes());
}

}  // namespace sinter::runtime
