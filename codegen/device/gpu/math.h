// Elementary functions; generated epilogues call them by the IR's op names.
#pragma once

#include "gpu/platform.h"
#include "step.h"

namespace sinter {

SINTER_INLINE float exp(float x) { return exp2(x * 1.44269504F); }
// 1 / sqrt(x). Of an infinity NaN, not 0: what a sum of squares overflowed for is not a small
// number.
SINTER_INLINE float inverse_root(float x) { return reciprocal_root(x) + (x - x); }
// 1 / (1 + e^-x): an infinite e^-x gives 0.
SINTER_INLINE float sigmoid(float x) { return reciprocal(1.0F + exp(-x)); }
SINTER_INLINE float silu(float x) { return x * sigmoid(x); }
SINTER_INLINE float relu2(float x) {
  const float r = x < 0.0F ? 0.0F : x;
  return r * r;
}
// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (...))
SINTER_INLINE float gelu(float x) {
  return x * sigmoid(1.59576912F * fma(x * x * x, 0.044715F, x));
}
// x/2 (1 + erf(x/sqrt(2))) by the tail r = |x|/2 erfc(|x|/sqrt(2)): -r below 0, x - r above. erfc
// as Abramowitz and Stegun 7.1.26 has it, with an error below 1.5e-7.
SINTER_INLINE float gelu_erf(float x) {
  const float a = __builtin_fabsf(x);
  const float t = reciprocal(fma(a, 0.3275911F * 0.70710678F, 1.0F));
  float p = 1.061405429F;
  p = fma(p, t, -1.453152027F);
  p = fma(p, t, 1.421413741F);
  p = fma(p, t, -0.284496736F);
  p = fma(p, t, 0.254829592F);
  return larger(x, 0.0F) - 0.5F * a * (p * t) * exp(-0.5F * a * a);
}
// Below 0.8 Lambert's fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))) to its fifth step, with an
// error below 2e-8 relative; above, 1 - 2 / (e^2x + 1) loses nothing.
SINTER_INLINE float tanh(float x) {
  const float a = __builtin_fabsf(x);
  const float z = x * x;
  const float near =
      x * fma(z, z + 105.0F, 945.0F) * reciprocal(fma(z, fma(z, 15.0F, 420.0F), 945.0F));
  const float far = 1.0F - 2.0F * reciprocal(exp(2.0F * a) + 1.0F);
  return a < 0.8F ? near : __builtin_copysignf(far, x);
}
// max(x, 0) + log(1 + t), t = e^-|x|: the logarithm as 2 atanh(t / (2 + t)) by its series, whose
// remainder is below 2e-8 relative.
SINTER_INLINE float softplus(float x) {
  const float t = exp(-__builtin_fabsf(x));
  const float s = t * reciprocal(2.0F + t);
  const float z = s * s;
  float p = 1.0F / 13;
  p = fma(p, z, 1.0F / 11);
  p = fma(p, z, 1.0F / 9);
  p = fma(p, z, 1.0F / 7);
  p = fma(p, z, 1.0F / 5);
  p = fma(p, z, 1.0F / 3);
  p = fma(p, z, 1.0F);
  return larger(x, 0.0F) + 2.0F * s * p;
}
// A NaN stays one.
SINTER_INLINE float clamp(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}
SINTER_INLINE float affine(float x, float scale, float offset) { return fma(x, scale, offset); }
SINTER_INLINE float add(float a, float b) { return a + b; }
SINTER_INLINE float mul(float a, float b) { return a * b; }
SINTER_INLINE float div(float a, float b) { return a / b; }
SINTER_INLINE float sqrt(float x) { return __builtin_sqrtf(x); }

// cos and sin: reduced by multiples of pi/2 in three steps (Cody and Waite; exact enough up to
// about 100,000), then Taylor polynomials on [-pi/4, pi/4].
SINTER_INLINE void cos_sin(float angle, float* cosine, float* sine) {
  const float n = __builtin_rintf(angle * 0.63661977F);
  float r = fma(n, -1.5707964F, angle);
  r = fma(n, 4.371139e-8F, r);
  r = fma(n, 1.7151245e-15F, r);
  const float z = r * r;
  const float s =
      fma(r * z,
          fma(z, fma(z, fma(z, 2.7557319e-6F, -1.9841270e-4F), 8.3333333e-3F), -1.6666667e-1F), r);
  const float c =
      fma(z, fma(z, fma(z, fma(z, 2.4801587e-5F, -1.3888889e-3F), 4.1666667e-2F), -0.5F), 1.0F);
  const int quadrant = static_cast<int>(n);
  const float s1 = (quadrant & 1) != 0 ? c : s;
  const float c1 = (quadrant & 1) != 0 ? s : c;
  *sine = (quadrant & 2) != 0 ? -s1 : s1;
  *cosine = ((quadrant + 1) & 2) != 0 ? -c1 : c1;
}

}  // namespace sinter
