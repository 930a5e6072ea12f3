// How queries grow with their position. Whoever includes this has defined SINTER_INLINE and
// SINTER_MEMBER.
#pragma once

#include "elements.h"

namespace sinter {

// ln(x) of a positive number: x = 2^e m with m in sqrt(1/2)..sqrt(2), and ln(m) = 2 atanh((m - 1) /
// (m + 1)) by its series, whose remainder is below 1e-9 relative.
SINTER_INLINE float natural_log(float x) {
  constexpr u32 root_of_half = 0x3f3504f3U;
  const u32 bits = __builtin_bit_cast(u32, x);
  const i32 e = static_cast<i32>(bits - root_of_half) >> 23;
  const float m = __builtin_bit_cast(float, bits - (static_cast<u32>(e) << 23));
  const float s = (m - 1.0F) / (m + 1.0F);
  const float z = s * s;
  const float series = 1.0F + z * (1.0F / 3 + z * (1.0F / 5 + z * (1.0F / 7 + z * (1.0F / 9))));
  return static_cast<float>(e) * 0.693147181F + 2.0F * s * series;
}

// 1 + scale ln(1 + floor((position + offset) / period))
struct LogGrowth {
  float scale;
  u32 period, offset;

  SINTER_MEMBER float at(int position) const {
    const u32 periods = (static_cast<u32>(position) + offset) / period;
    return 1.0F + scale * natural_log(1.0F + static_cast<float>(periods));
  }
};
struct NoGrowth {
  SINTER_MEMBER float at(int) const { return 1.0F; }
};

}  // namespace sinter
