// The integer dot product, 16 rows and four columns at a time, and tables of bytes.
#pragma once

#include "cpu/vector.h"

namespace sinter {

// Columns of a step that one pass over the weights serves: as many as accumulators fit in
// registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int max_columns = 8;
#else
constexpr int max_columns = 4;
#endif

// table[byte] for the 64 bytes, each below 16.
SINTER_INLINE u32x16 lookup(const u8 (&table)[16], u32x16 bytes) {
  const u8x16 row = load_unaligned<u8x16>(table);
#if defined(__AVX512BW__)
  using i8x64 = char __attribute__((vector_size(64)));
  using u32x4 = u32 __attribute__((ext_vector_type(4)));
  const auto four = __builtin_bit_cast(u32x4, row);
  const u32x16 all =
      __builtin_shufflevector(four, four, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  return __builtin_bit_cast(u32x16, __builtin_ia32_pshufb512(__builtin_bit_cast(i8x64, all),
                                                             __builtin_bit_cast(i8x64, bytes)));
#elif defined(__AVX2__)
  using i8x32 = char __attribute__((vector_size(32)));
  using u32x4 = u32 __attribute__((ext_vector_type(4)));
  using u32x8 = u32 __attribute__((ext_vector_type(8)));
  const auto four = __builtin_bit_cast(u32x4, row);
  const u32x8 all = __builtin_shufflevector(four, four, 0, 1, 2, 3, 0, 1, 2, 3);
  const auto half = [&](u32x8 eight) {
    return __builtin_bit_cast(u32x8, __builtin_ia32_pshufb256(__builtin_bit_cast(i8x32, all),
                                                              __builtin_bit_cast(i8x32, eight)));
  };
  u32x16 out;
  out.lo = half(bytes.lo);
  out.hi = half(bytes.hi);
  return out;
#elif defined(__aarch64__)
  using u32x4 = u32 __attribute__((ext_vector_type(4)));
  const auto quarter = [&](u32x4 four) {
    u32x4 out;
    __asm__("tbl %0.16b, {%1.16b}, %2.16b" : "=w"(out) : "w"(row), "w"(four));
    return out;
  };
  u32x16 out;
  out.lo.lo = quarter(bytes.lo.lo);
  out.lo.hi = quarter(bytes.lo.hi);
  out.hi.lo = quarter(bytes.hi.lo);
  out.hi.hi = quarter(bytes.hi.hi);
  return out;
#else
#error "this CPU family has no byte table here: add one to codegen/device/cpu/dot.h"
#endif
}

// sums[row] += sum over k < 4 of codes[row][k] * activations[k]. Codes are unsigned bytes, four to
// a lane (k in the low byte first), below 2^Bits; `activations` holds four signed bytes.
template <int Bits>
SINTER_INLINE i32x16 dot4(i32x16 sums, u32x16 codes, i32 activations);

#if defined(__AVX512VNNI__)

template <int Bits>
SINTER_INLINE i32x16 dot4(i32x16 sums, u32x16 codes, i32 activations) {
  using u8x64 = unsigned char __attribute__((vector_size(64)));
  using i8x64 = char __attribute__((vector_size(64)));
  using i32v = int __attribute__((vector_size(64)));
  return __builtin_bit_cast(
      i32x16,
      __builtin_ia32_vpdpbusd512(__builtin_bit_cast(i32v, sums), __builtin_bit_cast(u8x64, codes),
                                 __builtin_bit_cast(i8x64, i32x16(activations))));
}

#else

#if defined(__AVX2__)

using i32x8 = i32 __attribute__((ext_vector_type(8)));

// Pairs of products are added in 16 bits: exact for codes below 2^7 (2 * 127 * 128 < 2^15).
SINTER_INLINE i32x8 dot4_half(i32x8 sums, i32x8 codes, i32 activations) {
  using i8x32 = char __attribute__((vector_size(32)));
  using i16x16 = short __attribute__((vector_size(32)));
  using i32v = int __attribute__((vector_size(32)));
  const i16x16 pairs = __builtin_ia32_pmaddubsw256(__builtin_bit_cast(i8x32, codes),
                                                   __builtin_bit_cast(i8x32, i32x8(activations)));
  const i16x16 ones = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const i32v quads = __builtin_ia32_pmaddwd256(pairs, ones);
  return sums + __builtin_bit_cast(i32x8, quads);
}
SINTER_INLINE i32x16 dot4_narrow(i32x16 sums, u32x16 codes, i32 activations) {
  const i32x16 c = __builtin_bit_cast(i32x16, codes);
  i32x16 out;
  out.lo = dot4_half(sums.lo, c.lo, activations);
  out.hi = dot4_half(sums.hi, c.hi, activations);
  return out;
}

#elif defined(__ARM_FEATURE_DOTPROD)

using i32x4 = i32 __attribute__((ext_vector_type(4)));

SINTER_INLINE i32x4 sdot(i32x4 sums, i32x4 codes, i32x4 activations) {
  __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(codes), "w"(activations));
  return sums;
}
// Codes below 2^7 are the same number as signed bytes.
SINTER_INLINE i32x16 dot4_narrow(i32x16 sums, u32x16 codes, i32 activations) {
  const i32x16 c = __builtin_bit_cast(i32x16, codes);
  const i32x4 a = i32x4(activations);
  i32x16 out;
  out.lo.lo = sdot(sums.lo.lo, c.lo.lo, a);
  out.lo.hi = sdot(sums.lo.hi, c.lo.hi, a);
  out.hi.lo = sdot(sums.hi.lo, c.hi.lo, a);
  out.hi.hi = sdot(sums.hi.hi, c.hi.hi, a);
  return out;
}

#else
#error "this CPU family has no integer dot product here: add one to codegen/device/cpu/dot.h"
#endif

template <int Bits>
SINTER_INLINE i32x16 dot4(i32x16 sums, u32x16 codes, i32 activations) {
  if constexpr (Bits < 8) {
    return dot4_narrow(sums, codes, activations);
  } else {  // two nibbles
    const i32x16 high = dot4_narrow(i32x16(0), (codes >> 4) & 0x0f0f0f0fU, activations);
    return dot4_narrow(sums, codes & 0x0f0f0f0fU, activations) + (high << 4);
  }
}

#endif

}  // namespace sinter
