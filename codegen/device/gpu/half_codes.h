// Cached codes as numbers that matrix units for float16 multiply.
#pragma once

#include "gpu/caches.h"
#include "gpu/half_matrix.h"

namespace sinter {

using f16x2 = f16 __attribute__((ext_vector_type(2)));

// Codes as numbers (zero - code) / zero of float16: behind the exponent of a float16 whose last bit
// stands for 1 / zero a code counts up from it.
template <class Format>
struct HalfCodes {
  static constexpr u32 exponent = Format::bits == 8 ? 0x48004800U : 0x58005800U;  // 8, 128
  // Of both codes, which stand behind exponents.
  static SINTER_MEMBER f16x2 numbers(u32 codes) {
    constexpr f16 from = static_cast<f16>(Format::bits == 8 ? 9.0F : 129.0F);
    return f16x2{from, from} - __builtin_bit_cast(f16x2, codes);
  }
  // Words of 8 neighbouring features, word k with those of `at(2 k)` and `at(2 k + 1)`.
  static constexpr int at(int i) { return Format::bits == 4 ? i / 2 + i % 2 * 4 : i; }
  template <class Stored>
  static SINTER_MEMBER u32 word(const Stored& codes, int k) {
    if constexpr (Format::bits == 8) {
      return permute_bytes(codes[k / 2], exponent >> 8, k % 2 == 0 ? 0x4140U : 0x4342U);
    } else {
      return (codes[0] >> (4 * k) & 0x000f000fU) | exponent;
    }
  }
  // The same 8, two neighbours to a word.
  template <class Stored>
  static SINTER_MEMBER void eight(const Stored& codes, f16x2 (&to)[4]) {
    u32 words[4];
#pragma clang loop unroll(full)
    for (int k = 0; k < 4; ++k) words[k] = word(codes, k);
#pragma clang loop unroll(full)
    for (int k = 0; k < 4; ++k)
      to[k] = numbers(Format::bits == 8 ? words[k]
                                        : permute_bytes(words[k % 2 * 2], words[k % 2 * 2 + 1],
                                                        k < 2 ? 0x5410U : 0x7632U));
  }
  // Feature i of 4 neighbours of one position in the low, of another in the high half.
  static SINTER_MEMBER u32 pair(u32 a, u32 b, int i) {
    if constexpr (Format::bits == 8) {
      const u32 both = permute_bytes(a, b, i < 2 ? 0x5140U : 0x7362U);
      return permute_bytes(both, exponent >> 8, i % 2 == 0 ? 0x4140U : 0x4342U);
    } else {
      return (permute_bytes(a, b, 0x5410U) >> (4 * i) & 0x000f000fU) | exponent;
    }
  }
};

}  // namespace sinter
