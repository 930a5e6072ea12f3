// Elementary functions on vectors and scalars; generated epilogues call them by the IR's op names.
#pragma once

#include "cpu/vector.h"

namespace sinter {

// e^x by 2^n 2^f, |f| <= 1/2, with a degree-6 polynomial for 2^f (coefficients ln(2)^k / k!: the
// remainder is below 2e-7 relative, as float32's own rounding). Saturates instead of overflowing; a
// NaN stays one.
SINTER_INLINE f32x16 exp(f32x16 x) {
  x = x < splat(-87.0F) ? splat(-87.0F) : x;
  x = x > splat(88.0F) ? splat(88.0F) : x;
  const f32x16 y = x * 1.44269504F;
  const f32x16 n = __builtin_elementwise_roundeven(y);
  // x - n ln 2 in two steps keeps f exact to the last bit.
  f32x16 f = fma(n, splat(-0.693359375F), x);
  f = fma(n, splat(2.12194440e-4F), f);
  f32x16 p = splat(1.0F / 720);
  p = fma(p, f, splat(1.0F / 120));
  p = fma(p, f, splat(1.0F / 24));
  p = fma(p, f, splat(1.0F / 6));
  p = fma(p, f, splat(0.5F));
  p = fma(p, f, splat(1.0F));
  p = fma(p, f, splat(1.0F));
  const i32x16 e = (__builtin_convertvector(n, i32x16) + 127) << 23;
  return p * __builtin_bit_cast(f32x16, e);
}
SINTER_INLINE float exp(float x) { return exp(splat(x))[0]; }

// 1 / sqrt(x). Of an infinity NaN, not 0: what a sum of squares overflowed for is not a small
// number.
SINTER_INLINE float inverse_root(float x) { return 1.0F / __builtin_sqrtf(x) + (x - x); }

SINTER_INLINE f32x16 sigmoid(f32x16 x) { return 1.0F / (1.0F + exp(-x)); }
SINTER_INLINE f32x16 silu(f32x16 x) { return x / (1.0F + exp(-x)); }
SINTER_INLINE f32x16 relu2(f32x16 x) {
  const f32x16 r = x < splat(0.0F) ? splat(0.0F) : x;
  return r * r;
}
// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (...))
SINTER_INLINE f32x16 gelu(f32x16 x) {
  return x * sigmoid(1.59576912F * fma(x * x * x, splat(0.044715F), x));
}
// x/2 (1 + erf(x/sqrt(2))) by the tail r = |x|/2 erfc(|x|/sqrt(2)): -r below 0, x - r above. erfc
// as Abramowitz and Stegun 7.1.26 has it, with an error below 1.5e-7.
SINTER_INLINE f32x16 gelu_erf(f32x16 x) {
  const f32x16 a = __builtin_elementwise_abs(x);
  const f32x16 t = 1.0F / fma(a, splat(0.3275911F * 0.70710678F), splat(1.0F));
  f32x16 p = splat(1.061405429F);
  p = fma(p, t, splat(-1.453152027F));
  p = fma(p, t, splat(1.421413741F));
  p = fma(p, t, splat(-0.284496736F));
  p = fma(p, t, splat(0.254829592F));
  const f32x16 tail = 0.5F * a * (p * t) * exp(-0.5F * a * a);
  return __builtin_elementwise_max(x, splat(0.0F)) - tail;
}
SINTER_INLINE f32x16 add(f32x16 a, f32x16 b) { return a + b; }
SINTER_INLINE f32x16 mul(f32x16 a, f32x16 b) { return a * b; }

// cos and sin of angles up to a few million: reduced by multiples of pi/2 in float64, then the
// Taylor polynomials on
// [-pi/4, pi/4] in float64 (error below float32's rounding).
SINTER_INLINE void cos_sin(f32x16 angle, f32x16* cosine, f32x16* sine) {
  using f64x16 = double __attribute__((ext_vector_type(16)));
  const f64x16 x = __builtin_convertvector(angle, f64x16);
  const f64x16 n = __builtin_elementwise_roundeven(x * 0.63661977236758134);
  f64x16 r = x - n * 1.5707963267948966;
  r = r - n * 6.123233995736766e-17;
  const f64x16 z = r * r;
  const f64x16 s =
      r * (1 + z * (-1.0 / 6 +
                    z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z / 39916800)))));
  const f64x16 c =
      1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 - z / 3628800))));
  const f32x16 sf = __builtin_convertvector(s, f32x16);
  const f32x16 cf = __builtin_convertvector(c, f32x16);
  const i32x16 quadrant = __builtin_convertvector(n, i32x16);
  const i32x16 odd = (quadrant & 1) != 0;
  const i32x16 sin_negative = (quadrant & 2) != 0;
  const i32x16 cos_negative = ((quadrant + 1) & 2) != 0;
  const f32x16 s1 = odd ? cf : sf;
  const f32x16 c1 = odd ? sf : cf;
  *sine = sin_negative ? -s1 : s1;
  *cosine = cos_negative ? -c1 : c1;
}

}  // namespace sinter
