// Makes the bytes of synthetic weights. Each 8-byte word of a fill is a hash of (seed, index of the
// fill, index of the word), so threads may fill any ranges in any order, and every machine makes
// the same bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/plan/plan.h"

namespace sinter::runtime {

// Bytes of one number of a fill's dtype ("f16", "bf16", "f32", "e8m0", "e4m3"); 0 for anything
// else.
uint64_t fill_element_bytes(std::string_view dtype);

inline uint64_t fill_words(const Fill& fill) {
  return fill.bytes / 8 + (fill.bytes % 8 != 0 ? 1 : 0);
}

// Writes words [first, last) of fills[index] to `out`, which is where word `first` goes. The fill's
// last word may be partial.
//   bits     the hash itself
//   ternary  each byte is one of the 81 that hold four 2-bit codes in 0..2
//   uniform  numbers in [low, high) on a grid of 2^24 steps (f32) or 2^16 steps (others), then
//            rounded to the dtype
//   paired   -factor times the number that fills[index - 1] (uniform, as many numbers) has at the
//            same place, rounded to the dtype
// The fills must have passed the plan's checks.
void fill_piece(std::span<const Fill> fills, size_t index, uint64_t seed, uint64_t first,
                uint64_t last, uint8_t* out);

// The same within `weights`, the start of the weights.
inline void fill_range(std::span<const Fill> fills, size_t index, uint64_t seed, uint64_t first,
                       uint64_t last, uint8_t* weights) {
  fill_piece(fills, index, seed, first, last, weights + fills[index].offset + 8 * first);
}

}  // namespace sinter::runtime
