// Matrix units for bits: 16 rows times 8 columns over 128 bits k, which count the bits that both
// have. A lane of the left side holds rows g and g + 8, of the right side column g, where g = lane
// / 4: of both word q = lane % 4 of four. Of the sums it holds rows g and g + 8, columns 2 q and 2
// q + 1. Which bit of a word is which k does not matter, as long as both sides agree.
//
// Later than Hopper the units are not there, and other instructions stand in for them.
#pragma once

#include "gpu/platform.h"

namespace sinter {

struct BitMatrix {
#if (defined(SINTER_MATRIX_AMPERE) && __CUDA_ARCH__ < 1000) || \
    (defined(SINTER_SIMT) && SINTER_WAVE == 32)
  static constexpr bool exists = true;
#else
  static constexpr bool exists = false;
#endif

  // c += counts of a and b. Row g, two columns, then row g + 8.
  static SINTER_MEMBER void multiply(i32 (&c)[4], u32 a0, u32 a1, u32 b) {
#if defined(SINTER_MATRIX_AMPERE)
    __asm__(
        "mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5}, "
        "{%6}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
#elif defined(SINTER_SIMT)
    const auto at = [](int group, int word) { return group * 4 + word; };
    for (int word = 0; word < 4; ++word) {
      const u32 rows[2] = {shuffle(a0, at(lane() / 4, word)), shuffle(a1, at(lane() / 4, word))};
      const u32 columns[2] = {shuffle(b, at(lane() % 4 * 2, word)),
                              shuffle(b, at(lane() % 4 * 2 + 1, word))};
      for (int i = 0; i < 4; ++i) c[i] += __builtin_popcount(rows[i / 2] & columns[i % 2]);
    }
#else
    static_cast<void>(c), static_cast<void>(a0), static_cast<void>(a1), static_cast<void>(b);
#endif
  }
};

}  // namespace sinter
