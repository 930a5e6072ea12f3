// Matrix units behind one shape: 16 rows of weights times 16 tokens over 32 columns, int8 into
// int32.
//
// A lane holds `rows` rows of the left side and `tokens` tokens of the right, of each `pieces`
// pieces of 8 columns (two words of four), and `sums` sums. Which they are: row(i), token(i),
// piece(i), sum_row(e), sum_token(e). Columns may be taken in any order as long as both sides
// agree.
//
// Which unit a machine has says the table of targets, as one of the macros
//   SINTER_MATRIX_TURING  mma.m8n8k16      SINTER_MATRIX_CDNA2  MFMA of 16 columns
//   SINTER_MATRIX_AMPERE  mma.m16n8k32     SINTER_MATRIX_CDNA3  MFMA of 32 columns
//                                          SINTER_MATRIX_RDNA3, SINTER_MATRIX_RDNA4  WMMA
// Without any of them integer dots serve.
#pragma once

#include "gpu/platform.h"

namespace sinter {

struct Matrix {
#if defined(SINTER_MATRIX_AMPERE) || defined(SINTER_MATRIX_TURING)
  // Two mma.m16n8k32, each of which is four mma.m8n8k16: rows 0 to 7 and 8 to 15 times either word
  // of the pieces.
  static constexpr int rows = 2, tokens = 2, pieces = 1;
  static __device__ int row(int i) { return lane() / 4 + 8 * i; }
  static __device__ int token(int i) { return lane() / 4 + 8 * i; }
  static __device__ int piece(int) { return lane() % 4; }
  static __device__ int sum_row(int e) { return lane() / 4 + e % 4 / 2 * 8; }
  static __device__ int sum_token(int e) { return e / 4 * 8 + lane() % 4 * 2 + e % 2; }
#elif defined(SINTER_MATRIX_CDNA2) || defined(SINTER_MATRIX_CDNA3)
  static constexpr int rows = 1, tokens = 1, pieces = 1;
  static __device__ int row(int) { return lane() % 16; }
  static __device__ int token(int) { return lane() % 16; }
  static __device__ int piece(int) { return lane() / 16; }
  static __device__ int sum_row(int e) { return lane() / 16 * 4 + e; }
  static __device__ int sum_token(int) { return lane() % 16; }
#elif defined(SINTER_MATRIX_RDNA4)
  // Two WMMA of 16 columns; a lane has 8 of them.
  static constexpr int rows = 1, tokens = 1, pieces = 2;
  static __device__ int row(int) { return lane() % 16; }
  static __device__ int token(int) { return lane() % 16; }
  static __device__ int piece(int i) { return 2 * i + lane() / 16; }
  static __device__ int sum_row(int e) { return lane() / 16 * 8 + e; }
  static __device__ int sum_token(int) { return lane() % 16; }
#elif defined(SINTER_MATRIX_RDNA3)
  // Two WMMA of 16 columns; both halves of the wave hold all of them.
  static constexpr int rows = 1, tokens = 1, pieces = 4;
  static __device__ int row(int) { return lane() % 16; }
  static __device__ int token(int) { return lane() % 16; }
  static __device__ int piece(int i) { return i; }
  static __device__ int sum_row(int e) { return 2 * e + lane() / 16; }
  static __device__ int sum_token(int) { return lane() % 16; }
#else
  // No matrix units: integer dots, a row to a lane; half of its tokens are of the first 8, where
  // those are ever multiplied alone.
  static constexpr int rows = 1, tokens = 256 / wave_size, pieces = 4;
  static __device__ int row(int) { return lane() % 16; }
  static __device__ int token(int i) {
    constexpr int half = has_dot4 ? tokens / 2 : tokens;
    return i / half * 8 + lane() / 16 * half + i % half;
  }
  static __device__ int piece(int i) { return i; }
  static __device__ int sum_row(int) { return lane() % 16; }
  static __device__ int sum_token(int e) { return token(e); }
#endif
  static constexpr int sums = 256 / wave_size;
  // Rows that a lane's sums belong to.
#if defined(SINTER_MATRIX_AMPERE) || defined(SINTER_MATRIX_TURING)
  static constexpr int rows_of_sums = 2;
#elif defined(SINTER_MATRIX_CDNA2) || defined(SINTER_MATRIX_CDNA3) || \
    defined(SINTER_MATRIX_RDNA3) || defined(SINTER_MATRIX_RDNA4)
  static constexpr int rows_of_sums = sums;
#else
  static constexpr int rows_of_sums = 1;
#endif
  // Tokens that can be multiplied alone, and how many sums of a lane are then used.
#if defined(SINTER_MATRIX_CDNA2) || defined(SINTER_MATRIX_CDNA3) || \
    defined(SINTER_MATRIX_RDNA3) || defined(SINTER_MATRIX_RDNA4)
  static constexpr int least_tokens = 16, sums_of_least = sums;
#else
  static constexpr int least_tokens = 8, sums_of_least = sums / 2;
#endif

  // Sums begin at `start`, and number() gives what was added to it. NVIDIA converts integers at
  // half the rate at which it adds floats: there they count in the mantissa of 1.5 * 2^23, which is
  // exact for what 128 products of signed bytes can sum up to.
#if defined(SINTER_MATRIX_AMPERE) || defined(SINTER_MATRIX_TURING)
  static constexpr int start = 0x4B400000;
  static __device__ __attribute__((always_inline)) float number(int sum) {
    return __builtin_bit_cast(float, sum) - 12582912.0F;
  }
#else
  static constexpr int start = 0;
  static __device__ __attribute__((always_inline)) float number(int sum) {
    return static_cast<float>(sum);
  }
#endif

  struct Left {
    u32 words[rows][pieces][2];
  };
  struct Right {
    u32 words[tokens][pieces][2];
  };

  // Used: of all sums or of the least.
  template <int Used = sums>
  static __device__ __attribute__((always_inline)) void multiply(int (&c)[sums], const Left& a,
                                                                 const Right& b) {
#if defined(SINTER_MATRIX_AMPERE)
#pragma clang loop unroll(full)
    for (int n = 0; n < Used / 4; ++n)
      __asm__(
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
          "{%8, %9}, "
          "{%0, %1, %2, %3};"
          : "+r"(c[n * 4]), "+r"(c[n * 4 + 1]), "+r"(c[n * 4 + 2]), "+r"(c[n * 4 + 3])
          : "r"(a.words[0][0][0]), "r"(a.words[1][0][0]), "r"(a.words[0][0][1]),
            "r"(a.words[1][0][1]), "r"(b.words[n][0][0]), "r"(b.words[n][0][1]));
#elif defined(SINTER_MATRIX_TURING)
#pragma clang loop unroll(full)
    for (int n = 0; n < Used / 4; ++n)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; ++half)
#pragma clang loop unroll(full)
        for (int word = 0; word < 2; ++word)
          __asm__("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                  : "+r"(c[n * 4 + half * 2]), "+r"(c[n * 4 + half * 2 + 1])
                  : "r"(a.words[half][0][word]), "r"(b.words[n][0][word]));
#elif defined(SINTER_MATRIX_CDNA2) || defined(SINTER_MATRIX_CDNA3)
    i32x4 sum = {c[0], c[1], c[2], c[3]};
#if defined(SINTER_MATRIX_CDNA2)
    sum = __builtin_amdgcn_mfma_i32_16x16x16i8(static_cast<int>(a.words[0][0][0]),
                                               static_cast<int>(b.words[0][0][0]), sum, 0, 0, 0);
    sum = __builtin_amdgcn_mfma_i32_16x16x16i8(static_cast<int>(a.words[0][0][1]),
                                               static_cast<int>(b.words[0][0][1]), sum, 0, 0, 0);
#else
    const auto eight = [](const u32(&w)[2]) {
      return static_cast<long>(static_cast<u64>(w[1]) << 32 | w[0]);
    };
    sum = __builtin_amdgcn_mfma_i32_16x16x32_i8(eight(a.words[0][0]), eight(b.words[0][0]), sum, 0,
                                                0, 0);
#endif
#pragma clang loop unroll(full)
    for (int e = 0; e < sums; ++e) c[e] = sum[e];
#elif defined(SINTER_MATRIX_RDNA3) || defined(SINTER_MATRIX_RDNA4)
    i32x8 sum = {c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]};
#pragma clang loop unroll(full)
    for (int i = 0; i < 2; ++i) {
#if defined(SINTER_MATRIX_RDNA3)
      const auto sixteen = [i](const u32(&w)[4][2]) {
        return i32x4{static_cast<int>(w[2 * i][0]), static_cast<int>(w[2 * i][1]),
                     static_cast<int>(w[2 * i + 1][0]), static_cast<int>(w[2 * i + 1][1])};
      };
      sum = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, sixteen(a.words[0]), true,
                                                       sixteen(b.words[0]), sum, false);
#else
      using i32x2 = int __attribute__((ext_vector_type(2)));
      const auto eight = [i](const u32(&w)[2][2]) {
        return i32x2{static_cast<int>(w[i][0]), static_cast<int>(w[i][1])};
      };
      sum = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, eight(a.words[0]), true,
                                                             eight(b.words[0]), sum, false);
#endif
    }
#pragma clang loop unroll(full)
    for (int e = 0; e < sums; ++e) c[e] = sum[e];
#else
#pragma clang loop unroll(full)
    for (int e = 0; e < Used; ++e)
#pragma clang loop unroll(full)
      for (int p = 0; p < pieces; ++p) {
        c[e] = dot4(a.words[0][p][0], b.words[e][p][0], c[e]);
        c[e] = dot4(a.words[0][p][1], b.words[e][p][1], c[e]);
      }
    settle(c);
#endif
  }
};

}  // namespace sinter
