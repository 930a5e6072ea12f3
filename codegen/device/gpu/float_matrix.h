// Matrix units for numbers of float32: 16 rows times 8 columns over 8 numbers k. The units have
// products of 11 significant bits; a number is the sum of two such, and of the four products of two
// pairs the three larger are added up, so that a product is off by less than 2^-19 of itself.
//
// A lane of the left side holds rows g and g + 8, of the right side column g, where g = lane / 4:
// of both the numbers k = 2 q and 2 q + 1, where q = lane % 4. Of the sums it holds rows g and g +
// 8, columns 2 q and 2 q + 1: what is a sum here can be a left side there. (The units count these
// numbers as q and q + 4; it does not matter, as long as both sides agree.)
#pragma once

#include "gpu/platform.h"

namespace sinter {

struct FloatMatrix {
#if defined(SINTER_MATRIX_AMPERE) || (defined(SINTER_SIMT) && SINTER_WAVE == 32)
  static constexpr bool exists = true;
#else
  static constexpr bool exists = false;
#endif

  // A number as the units take it, and what that leaves of it.
  struct Split {
    float big, rest;

    static SINTER_MEMBER Split of(float x) {
#if defined(SINTER_MATRIX_AMPERE)
      u32 bits;
      __asm__("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
      const u32 bits = (__builtin_bit_cast(u32, x) + 0x1000U) & 0xffffe000U;
#endif
      const float big = __builtin_bit_cast(float, bits);
      return {big, x - big};
    }
  };
  // Rows g, two numbers k, then row g + 8.
  struct Left {
    Split at[4];
    static SINTER_MEMBER Left of(const float (&x)[4]) {
      return {{Split::of(x[0]), Split::of(x[1]), Split::of(x[2]), Split::of(x[3])}};
    }
  };
  struct Right {
    Split at[2];
    static SINTER_MEMBER Right of(float first, float second) {
      return {{Split::of(first), Split::of(second)}};
    }
  };

  // c += a b. Rows g, two columns, then row g + 8.
  static SINTER_MEMBER void multiply(float (&c)[4], const Left& a, const Right& b) {
    multiply(c, a.at[0].rest, a.at[1].rest, a.at[2].rest, a.at[3].rest, b.at[0].big, b.at[1].big);
    multiply(c, a.at[0].big, a.at[1].big, a.at[2].big, a.at[3].big, b.at[0].rest, b.at[1].rest);
    multiply(c, a.at[0].big, a.at[1].big, a.at[2].big, a.at[3].big, b.at[0].big, b.at[1].big);
  }

 private:
  // Of each number what the units see: 11 significant bits, cut off.
  static SINTER_MEMBER void multiply(float (&c)[4], float a0, float a1, float a2, float a3,
                                     float b0, float b1) {
#if defined(SINTER_MATRIX_AMPERE)
    const auto bits = [](float x) { return __builtin_bit_cast(u32, x); };
    __asm__(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(bits(a0)), "r"(bits(a2)), "r"(bits(a1)), "r"(bits(a3)), "r"(bits(b0)), "r"(bits(b1)));
#elif defined(SINTER_SIMT)
    static struct {
      float left[4];
      float right[2];
    } held[threads];
    const auto cut = [](float x) {
      return __builtin_bit_cast(float, __builtin_bit_cast(u32, x) & 0xffffe000U);
    };
    held[thread()] = {{cut(a0), cut(a1), cut(a2), cut(a3)}, {cut(b0), cut(b1)}};
    wave_barrier();
    const int wave_begin = thread() - lane();
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < 8; ++k)
        c[i] += held[wave_begin + lane() / 4 * 4 + k / 2].left[i / 2 * 2 + k % 2] *
                held[wave_begin + (lane() % 4 * 2 + i % 2) * 4 + k / 2].right[k % 2];
    wave_barrier();
#endif
  }
};

}  // namespace sinter
