// float32 to and from shorter floats, rounding to nearest even. Integer arithmetic only: every
// machine gives the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace sinter::runtime {

// The exponent and fraction of the nearest float of `fraction_bits` bits of fraction and `bias`,
// for a finite magnitude (a float32 without its sign) below what overflows.
inline uint32_t rounded_fields(uint32_t magnitude, uint32_t fraction_bits, uint32_t bias) {
  const uint32_t least_normal = 128 - bias;  // its exponent field in float32
  uint32_t shift = 23 - fraction_bits;
  uint32_t value = magnitude - ((least_normal - 1) << 23);
  if (magnitude >> 23 < least_normal) {  // subnormal: a multiple of the least one
    shift += least_normal - (magnitude >> 23);
    if (shift > 24) return 0;
    value = (magnitude & 0x7fffff) | 0x800000;
  }
  return (value + (1u << (shift - 1)) - 1 + ((value >> shift) & 1)) >> shift;
}

inline uint16_t f16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);  // NaN
  if (magnitude >= 0x477ff000)
    return static_cast<uint16_t>(sign | 0x7c00);  // 65520 and more round to infinity
  return static_cast<uint16_t>(sign | rounded_fields(magnitude, 10, 15));
}

inline float f32_from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 31;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

inline uint16_t bf16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return static_cast<uint16_t>((bits >> 16) | 0x40);  // NaN stays NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float f32_from_bf16(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

// OCP Microscaling's e4m3, without infinities: the largest is 448, to which larger ones saturate.
inline uint8_t e4m3_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint8_t>(sign | 0x7f);   // NaN
  if (magnitude >= 0x43e00000) return static_cast<uint8_t>(sign | 0x7e);  // 448 and more
  return static_cast<uint8_t>(sign | rounded_fields(magnitude, 3, 7));
}

// OCP Microscaling's e8m0: the power of two (byte - 127) nearest to a positive `value`.
inline uint8_t e8m0_from_f32(float value) {
  return static_cast<uint8_t>((std::bit_cast<uint32_t>(value) + 0x400000) >> 23);
}

}  // namespace sinter::runtime
