// Vectors of 16 lanes, written with Clang's vector extensions: one 512-bit register, two of AVX2,
// four of NEON.
#pragma once

#include "elements.h"

#define SINTER_INLINE static inline __attribute__((always_inline))
#define SINTER_MEMBER inline __attribute__((always_inline))

namespace sinter {

using f32x16 = float __attribute__((ext_vector_type(16)));
using i32x16 = i32 __attribute__((ext_vector_type(16)));
using u32x16 = u32 __attribute__((ext_vector_type(16)));
using u16x16 = u16 __attribute__((ext_vector_type(16)));
using i8x16 = i8 __attribute__((ext_vector_type(16)));
using u8x16 = u8 __attribute__((ext_vector_type(16)));
using u8x8 = u8 __attribute__((ext_vector_type(8)));
using f16x16 = f16 __attribute__((ext_vector_type(16)));

constexpr int lanes = 16;
using Lanes = f32x16;  // what generated epilogues compute with

template <class V, class P>
SINTER_INLINE V load_unaligned(const P* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class V, class P>
SINTER_INLINE void store_unaligned(P* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

// 16 consecutive elements as float32.
SINTER_INLINE f32x16 load(const float* p) { return load_unaligned<f32x16>(p); }
SINTER_INLINE f32x16 load(const f16* p) {
  return __builtin_convertvector(load_unaligned<f16x16>(p), f32x16);
}
SINTER_INLINE f32x16 load(const bf16* p) {
  const u32x16 wide = __builtin_convertvector(load_unaligned<u16x16>(p), u32x16) << 16;
  return __builtin_bit_cast(f32x16, wide);
}
SINTER_INLINE u32x16 widen(u8x16 v) { return __builtin_convertvector(v, u32x16); }
// 2^(bits - 127); the smallest is a subnormal.
SINTER_INLINE f32x16 load(const e8m0* p) {
  const u32x16 bits = widen(load_unaligned<u8x16>(p)) << 23U;
  return __builtin_bit_cast(f32x16, bits == 0U ? u32x16(0x00400000U) : bits);
}
// The fields of a float16 whose exponent is biased by 8 more.
SINTER_INLINE f32x16 load(const e4m3* p) {
  const u16x16 byte = __builtin_convertvector(load_unaligned<u8x16>(p), u16x16);
  const u16x16 bits = (byte & static_cast<u16>(0x80)) << static_cast<u16>(8) |
                      (byte & static_cast<u16>(0x7f)) << static_cast<u16>(7);
  return __builtin_convertvector(__builtin_bit_cast(f16x16, bits), f32x16) * 256.0F;
}
SINTER_INLINE float load_scalar(const e8m0* p) {
  return __builtin_bit_cast(float, p->bits == 0 ? 0x00400000U : u32{p->bits} << 23);
}
SINTER_INLINE float load_scalar(const e4m3* p) {
  const auto bits = static_cast<u16>((p->bits & 0x80) << 8 | (p->bits & 0x7f) << 7);
  return static_cast<float>(__builtin_bit_cast(f16, bits)) * 256.0F;
}
SINTER_INLINE float load_scalar(const float* p) { return *p; }
SINTER_INLINE float load_scalar(const f16* p) { return static_cast<float>(*p); }
SINTER_INLINE float load_scalar(const bf16* p) {
  return __builtin_bit_cast(float, static_cast<u32>(p->bits) << 16);
}

// 16 elements from number k on of runs of `Run` elements that begin `Stride` apart; at least `n` of
// them are there.
template <int Run, int Stride, class T>
SINTER_INLINE f32x16 load_runs(const T* p, index k, index n) {
  if constexpr (Run % lanes == 0) {
    return load(p + k / Run * Stride + k % Run);
  } else {
    f32x16 x = f32x16(0.0F);
    for (index i = 0; i < lanes && i < n; ++i)
      x[i] = load_scalar(p + (k + i) / Run * Stride + (k + i) % Run);
    return x;
  }
}

// Writes the first `n` lanes: the last tile of a row may be narrower than a vector.
SINTER_INLINE void store(float* p, f32x16 v, index n) {
  if (n >= lanes) {
    store_unaligned(p, v);
  } else {
    for (index i = 0; i < n; ++i) p[i] = v[i];
  }
}
SINTER_INLINE void store(f16* p, f32x16 v) {
  store_unaligned(p, __builtin_convertvector(v, f16x16));
}

SINTER_INLINE float reduce_add(f32x16 v) {
  using f32x8 = float __attribute__((ext_vector_type(8)));
  using f32x4 = float __attribute__((ext_vector_type(4)));
  const f32x8 a = v.lo + v.hi;
  const f32x4 b = a.lo + a.hi;
  return (b[0] + b[2]) + (b[1] + b[3]);
}
SINTER_INLINE i32 reduce_add(i32x16 v) {
  i32 sum = 0;
  for (int i = 0; i < lanes; ++i) sum += v[i];
  return sum;
}
// Exact, whatever the lanes hold.
SINTER_INLINE index reduce_add_wide(i32x16 v) {
  index sum = 0;
  for (int i = 0; i < lanes; ++i) sum += v[i];
  return sum;
}
SINTER_INLINE float reduce_max(f32x16 v) {
  using f32x8 = float __attribute__((ext_vector_type(8)));
  using f32x4 = float __attribute__((ext_vector_type(4)));
  const f32x8 a = __builtin_elementwise_max(v.lo, v.hi);
  const f32x4 b = __builtin_elementwise_max(a.lo, a.hi);
  const float x = b[0] > b[2] ? b[0] : b[2];
  const float y = b[1] > b[3] ? b[1] : b[3];
  return x > y ? x : y;
}
// Sizes of numbers as integers, which are ordered as the sizes are: an infinity is above every
// number and a NaN above infinity, so that neither is lost in a maximum.
SINTER_INLINE i32x16 magnitude_bits(f32x16 v) { return __builtin_bit_cast(i32x16, v) & 0x7fffffff; }
SINTER_INLINE i32 reduce_max(i32x16 v) {
  using i32x8 = i32 __attribute__((ext_vector_type(8)));
  using i32x4 = i32 __attribute__((ext_vector_type(4)));
  const i32x8 a = __builtin_elementwise_max(v.lo, v.hi);
  const i32x4 b = __builtin_elementwise_max(a.lo, a.hi);
  const i32 x = b[0] > b[2] ? b[0] : b[2];
  const i32 y = b[1] > b[3] ? b[1] : b[3];
  return x > y ? x : y;
}
SINTER_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return __builtin_elementwise_fma(a, b, c);
}
SINTER_INLINE f32x16 splat(float x) { return f32x16(x); }

// A half-open range of `count` units for one of `workers`, sizes differing by one at most.
struct Range {
  index begin, end;
};
SINTER_INLINE Range share(index count, int worker, int workers) {
  return {count * worker / workers, count * (worker + 1) / workers};
}

}  // namespace sinter
