// Elementary functions on vectors and scalars; generated epilogues call them by the IR's op names.
#pragma once

#include "cpu/vector.h"

namespace sinter {

// e^x = 2^n p for |x| below 110: n = round(x / ln 2), and p = 2^f, |f| <= 1/2, with a degree-6
// polynomial (coefficients ln(2)^k / k!: the remainder is below 2e-7 relative, as float32's own
// rounding).
struct ExpParts {
  f32x16 p;
  i32x16 n;
};
SINTER_INLINE ExpParts exp_parts(f32x16 x) {
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
  return {p, __builtin_convertvector(n, i32x16)};
}
// 2^n for -127 < n < 128
SINTER_INLINE f32x16 power_of_two(i32x16 n) { return __builtin_bit_cast(f32x16, (n + 127) << 23); }
// A NaN stays one.
SINTER_INLINE f32x16 clamp(f32x16 x, float low, float high) {
  x = x < splat(low) ? splat(low) : x;
  return x > splat(high) ? splat(high) : x;
}
SINTER_INLINE f32x16 affine(f32x16 x, float scale, float offset) {
  return fma(x, splat(scale), splat(offset));
}
// e^x. Saturates instead of overflowing, and does not go below e^-87; a NaN stays one.
SINTER_INLINE f32x16 bounded_exp(f32x16 x) {
  const ExpParts e = exp_parts(clamp(x, -87.0F, 88.0F));
  return e.p * power_of_two(e.n);
}
SINTER_INLINE float bounded_exp(float x) { return bounded_exp(splat(x))[0]; }
// The same up to infinity and down to 0: by a power of two in two steps.
SINTER_INLINE f32x16 exp(f32x16 x) {
  const ExpParts e = exp_parts(clamp(x, -105.0F, 89.0F));
  const i32x16 half = e.n >> 1;
  return e.p * power_of_two(half) * power_of_two(e.n - half);
}

// 1 / sqrt(x). Of an infinity NaN, not 0: what a sum of squares overflowed for is not a small
// number.
SINTER_INLINE float inverse_root(float x) { return 1.0F / __builtin_sqrtf(x) + (x - x); }

SINTER_INLINE f32x16 sigmoid(f32x16 x) { return 1.0F / (1.0F + bounded_exp(-x)); }
SINTER_INLINE f32x16 silu(f32x16 x) { return x / (1.0F + bounded_exp(-x)); }
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
  const f32x16 tail = 0.5F * a * (p * t) * bounded_exp(-0.5F * a * a);
  return __builtin_elementwise_max(x, splat(0.0F)) - tail;
}
// Below 0.8 Lambert's fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))) to its fifth step, with an
// error below 2e-8 relative; above, 1 - 2 / (e^2x + 1) loses nothing.
SINTER_INLINE f32x16 tanh(f32x16 x) {
  const f32x16 a = __builtin_elementwise_abs(x);
  const f32x16 z = x * x;
  const f32x16 near = x * fma(z, z + 105.0F, splat(945.0F)) /
                      fma(z, fma(z, splat(15.0F), splat(420.0F)), splat(945.0F));
  const f32x16 far = 1.0F - 2.0F / (bounded_exp(2.0F * a) + 1.0F);
  return a < splat(0.8F) ? near : __builtin_elementwise_copysign(far, x);
}
// max(x, 0) + log(1 + t), t = e^-|x|: the logarithm as 2 atanh(t / (2 + t)) by its series, whose
// remainder is below 2e-8 relative.
SINTER_INLINE f32x16 softplus(f32x16 x) {
  const f32x16 t = bounded_exp(-__builtin_elementwise_abs(x));
  const f32x16 s = t / (2.0F + t);
  const f32x16 z = s * s;
  f32x16 p = splat(1.0F / 13);
  p = fma(p, z, splat(1.0F / 11));
  p = fma(p, z, splat(1.0F / 9));
  p = fma(p, z, splat(1.0F / 7));
  p = fma(p, z, splat(1.0F / 5));
  p = fma(p, z, splat(1.0F / 3));
  p = fma(p, z, splat(1.0F));
  return __builtin_elementwise_max(x, splat(0.0F)) + 2.0F * s * p;
}
SINTER_INLINE f32x16 add(f32x16 a, f32x16 b) { return a + b; }
SINTER_INLINE f32x16 mul(f32x16 a, f32x16 b) { return a * b; }
SINTER_INLINE f32x16 div(f32x16 a, f32x16 b) { return a / b; }
SINTER_INLINE f32x16 sqrt(f32x16 x) { return __builtin_elementwise_sqrt(x); }

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
