// Vectors of 16 lanes, written with Clang's vector extensions: one 512-bit register, two of AVX2,
// four of NEON.
#pragma once

#define SINTER_INLINE static inline __attribute__((always_inline))

namespace sinter {

using i8 = signed char;
using u8 = unsigned char;
using u16 = unsigned short;
using i32 = int;
using u32 = unsigned;
using index = long;  // element counts and offsets
using f16 = _Float16;
struct bf16 {
  u16 bits;
};

using f32x16 = float __attribute__((ext_vector_type(16)));
using i32x16 = i32 __attribute__((ext_vector_type(16)));
using u32x16 = u32 __attribute__((ext_vector_type(16)));
using u16x16 = u16 __attribute__((ext_vector_type(16)));
using i8x16 = i8 __attribute__((ext_vector_type(16)));
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
SINTER_INLINE float load_scalar(const float* p) { return *p; }
SINTER_INLINE float load_scalar(const f16* p) { return static_cast<float>(*p); }
SINTER_INLINE float load_scalar(const bf16* p) {
  return __builtin_bit_cast(float, static_cast<u32>(p->bits) << 16);
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
SINTER_INLINE float reduce_max(f32x16 v) {
  using f32x8 = float __attribute__((ext_vector_type(8)));
  using f32x4 = float __attribute__((ext_vector_type(4)));
  const f32x8 a = __builtin_elementwise_max(v.lo, v.hi);
  const f32x4 b = __builtin_elementwise_max(a.lo, a.hi);
  const float x = b[0] > b[2] ? b[0] : b[2];
  const float y = b[1] > b[3] ? b[1] : b[3];
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
