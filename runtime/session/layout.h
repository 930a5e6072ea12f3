// What a session keeps on a device, whatever the device: the one place that knows how much of
// everything there is, and where within it a part lies.
#pragma once

#include <cstdint>

#include "runtime/plan/plan.h"

namespace sinter::runtime {

// Kernels work in whole vectors and may touch a little beyond a buffer's end.
inline constexpr uint64_t buffer_slack = 256;

inline uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// How large a session is, once it has been decided.
struct SessionSize {
  int64_t context = 0;    // positions of a sequence
  int64_t sequences = 1;  // places
  int64_t pages_per_sequence = 1;
  int64_t pages = 1;
};

// Buffers one behind the other, each with its slack. A device may as well keep them apart: then
// `bytes` of each is what counts.
struct SessionLayout {
  SessionLayout(const Plan& plan, const DevicePlan& device, const SessionSize& size);

  struct Buffer {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  StateLayout states;
  uint64_t row_bytes = 0;  // of logits
  uint64_t hidden_row_bytes = 0;
  Buffer paged;  // pages of all paged states
  Buffer fixed;  // other state, a place for each sequence
  Buffer step;   // the table of a step: step_table.h
  Buffer pages;  // int32 [sequences][pages_per_sequence]: numbers of pages
  Buffer arena;
  Buffer logits;       // [sequences, then logits_rows][vocab_size]
  Buffer hidden;       // [sequences, then chunk][hidden_size]
  uint64_t bytes = 0;  // of all

  // Of what sequences have, from the start.
  uint64_t state_bytes() const { return fixed.offset + fixed.bytes; }
  uint64_t page(int32_t number) const {
    return paged.offset + states.page_bytes * static_cast<uint64_t>(number);
  }
  uint64_t place(int sequence) const {
    return fixed.offset + states.fixed_bytes * static_cast<uint64_t>(sequence);
  }
  uint64_t logits_row(int64_t row) const {
    return logits.offset + row_bytes * static_cast<uint64_t>(row);
  }
  uint64_t hidden_row(int64_t row) const {
    return hidden.offset + hidden_row_bytes * static_cast<uint64_t>(row);
  }
  // Where an argument is that is none of the weights.
  uint64_t offset(const DevicePlan& device, const Argument& argument) const;

  // One more buffer, behind the others.
  Buffer add(uint64_t wanted);
};

}  // namespace sinter::runtime
