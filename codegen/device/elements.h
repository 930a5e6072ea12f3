// Numbers as kernels name them, on CPUs and GPUs alike.
#pragma once

namespace sinter {

using i8 = signed char;
using u8 = unsigned char;
using u16 = unsigned short;
using i32 = int;
using u32 = unsigned;
using u64 = unsigned long;
using index = long;  // element counts and offsets
using f16 = _Float16;
struct bf16 {
  u16 bits;
};
// OCP Microscaling's E8M0 and E4M3; never NaN here.
struct e8m0 {
  u8 bits;
};
struct e4m3 {
  u8 bits;
};

// 1 / sqrt(n) of a power of two.
constexpr float inverse_root_of_power(long n) {
  float y = 1.0F;
  for (; n >= 4; n /= 4) y *= 0.5F;
  return n == 2 ? y * 0.70710678F : y;
}

}  // namespace sinter
