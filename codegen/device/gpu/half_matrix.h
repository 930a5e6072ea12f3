// Matrix units behind one shape: 16 rows times 8 columns over 16 numbers k, float16 into float32.
//
// A lane of the left side holds rows g and g + 8, of the right side column g, where g = lane / 4:
// of both the numbers k = 2 q, 2 q + 1 in one word and 8 further in another, where q = lane % 4. Of
// the sums it holds rows g and g + 8, columns 2 q and 2 q + 1. Numbers k may be taken in any order
// as long as both sides agree.
#pragma once

#include "gpu/platform.h"

namespace sinter {

// Bytes of two words, number k of the result being the one that nibble k of `which` says: 0 to 3
// of a, 4 to 7 of b.
SINTER_INLINE u32 permute_bytes(u32 a, u32 b, u32 which) {
#if defined(__NVPTX__)
  return __nvvm_prmt(a, b, which);
#else
  const u64 both = u64{b} << 32 | a;
  u32 out = 0;
  for (int k = 0; k < 4; ++k)
    out |= static_cast<u32>(both >> (8 * (which >> (4 * k) & 7U)) & 255U) << (8 * k);
  return out;
#endif
}

struct HalfMatrix {
#if defined(SINTER_MATRIX_AMPERE) || (defined(SINTER_SIMT) && SINTER_WAVE == 32)
  static constexpr bool exists = true;
#else
  static constexpr bool exists = false;
#endif
  // Words: rows g and g + 8 of the first numbers k, then both of the second.
  struct Left {
    u32 words[4];
  };
  struct Right {
    u32 words[2];
  };

  // c: row g, then row g + 8, two columns each.
  static __device__ __attribute__((always_inline)) void multiply(float (&c)[4], const Left& a,
                                                                 const Right& b) {
#if defined(SINTER_MATRIX_AMPERE)
    __asm__(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]),
          "r"(b.words[1]));
#elif defined(SINTER_SIMT)
    static struct {
      Left left;
      Right right;
    } held[threads];
    held[thread()] = {a, b};
    wave_barrier();
    const int wave_begin = thread() - lane();
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < 16; ++k) {
        const int from = k % 8 / 2;
        const u32 x = held[wave_begin + lane() / 4 * 4 + from].left.words[i / 2 + k / 8 * 2];
        const u32 y = held[wave_begin + (lane() % 4 * 2 + i % 2) * 4 + from].right.words[k / 8];
        c[i] += half_of_word(x, k % 2) * half_of_word(y, k % 2);
      }
    wave_barrier();
#endif
  }

  static __device__ __attribute__((always_inline)) u32 word(float low, float high) {
    const auto bits = [](float x) { return u32{__builtin_bit_cast(u16, static_cast<f16>(x))}; };
    return bits(low) | bits(high) << 16;
  }
  static __device__ __attribute__((always_inline)) float half_of_word(u32 word, int which) {
    return static_cast<float>(__builtin_bit_cast(f16, static_cast<u16>(word >> (16 * which))));
  }
  // Two numbers as float16, and what that leaves of them.
  static __device__ __attribute__((always_inline)) void split(float low, float high, u32& word_of,
                                                              u32& rest) {
    word_of = word(low, high);
    rest = word(low - half_of_word(word_of, 0), high - half_of_word(word_of, 1));
  }

  // A matrix of 8 x 8, of whose row g a lane has columns 2 q and 2 q + 1, with rows and columns
  // exchanged.
  static __device__ __attribute__((always_inline)) u32 transpose(u32 word) {
#if defined(SINTER_MATRIX_AMPERE)
    u32 out;
    __asm__("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(word));
    return out;
#else
    const int from = lane() % 4 * 8 + lane() / 8;
    const int half = lane() / 4 % 2 * 16;
    return (shuffle(word, from) >> half & 0xffffU) | (shuffle(word, from + 4) >> half & 0xffffU)
                                                         << 16;
#endif
  }

  // 16 rows in shared memory, `stride` bytes long, from `Offset` bytes behind an address on.
  template <int Offset>
  static __device__ __attribute__((always_inline)) Left read_left(const u8* at, int stride) {
    Left to;
#if defined(SINTER_MATRIX_AMPERE)
    // A lane says where one row of one of the four tiles of 8 x 8 begins.
    const u8* const row = at + (lane() % 16) * stride + lane() / 16 * 16;
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4 + %5];"
                     : "=r"(to.words[0]), "=r"(to.words[1]), "=r"(to.words[2]), "=r"(to.words[3])
                     : "r"(shared_address(row)), "n"(Offset)
                     : "memory");
#else
    for (int i = 0; i < 4; ++i)
      to.words[i] = *reinterpret_cast<const u32*>(at + Offset + (lane() / 4 + i % 2 * 8) * stride +
                                                  i / 2 * 16 + lane() % 4 * 4);
#endif
    return to;
  }

  // The right sides of two neighbouring runs of 8 columns over numbers k..k + 15, where a number k
  // is a row in shared memory, `stride` bytes long, and `at` is the first column of row k.
  static __device__ __attribute__((always_inline)) void read_rows(const u8* at, int stride,
                                                                  Right (&to)[2]) {
#if defined(SINTER_MATRIX_AMPERE)
    // A lane says where one row of one of the four tiles of 8 x 8 begins.
    const u8* const row = at + (lane() % 16) * stride + lane() / 16 * 16;
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0].words[0]), "=r"(to[0].words[1]), "=r"(to[1].words[0]),
                       "=r"(to[1].words[1])
                     : "r"(shared_address(row))
                     : "memory");
#else
    for (int n = 0; n < 2; ++n)
      for (int half = 0; half < 2; ++half) {
        const u8* const from = at + (half * 8 + lane() % 4 * 2) * stride + (n * 8 + lane() / 4) * 2;
        to[n].words[half] = u32{*reinterpret_cast<const u16*>(from)} |
                            u32{*reinterpret_cast<const u16*>(from + stride)} << 16;
      }
#endif
  }
};

}  // namespace sinter
