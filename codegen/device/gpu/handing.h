// Numbers that blocks hand to others of the same kernel while all of them run.
//
// Who waits for a number waits for a block of a lower number than its own, and blocks start in the
// order of their numbers: whoever is waited for has started, and waits itself only for such.
#pragma once

#include "gpu/platform.h"

namespace sinter {

// A number says itself that it is there: its bits are inverted, and its place is zero, which no
// number is then, until it comes and after it was taken.
struct Handed {
  u32 word;

  SINTER_MEMBER void put(float x) {
    // Of numbers that are none one is like the others.
    store_word(&word, ~(x == x ? __builtin_bit_cast(u32, x) : 0x7fc00000U));
  }
  // Zero until it is there.
  SINTER_MEMBER u32 look() const { return load_word(&word); }
  static SINTER_MEMBER float number(u32 word) { return __builtin_bit_cast(float, ~word); }
  // By who has taken it.
  SINTER_MEMBER void clear() { word = 0; }
};

}  // namespace sinter
