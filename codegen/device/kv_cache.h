// How caches hold numbers: the formats of ir/state_format.h, where their parts lie in a page, and
// how a number becomes a code. Whoever includes this has defined SINTER_INLINE and SINTER_MEMBER.
//
// A group of codes has one float16 scale: x ~ scale * (zero - code) / zero, zero being half of all
// codes. The scale is the number of the group that is largest in size, which is therefore met by
// code 0; it is 0, or 2^-14 at least, so that it is no subnormal. A step of q4 is an eighth of that
// number, where codes -7..7 would make it a seventh. With an offset for each group it would be a
// fifteenth of the range, which of 32 normal numbers is 6 % less, for half a bit more for each
// number.
#pragma once

#include "step.h"

namespace sinter {

// group: features of a head that share a scale.
namespace cache_format {
struct f16 {
  using Number = sinter::f16;
  static constexpr int bits = 16, group = 0;
};
struct f32 {
  using Number = float;
  static constexpr int bits = 32, group = 0;
};
struct q8 {
  static constexpr int bits = 8, group = 32;
};
struct q4 {
  static constexpr int bits = 4, group = 32;
};
}  // namespace cache_format

// Of keys or of values in a page: [kv_head][position] rows of a head's features, rounded up to 16,
// low bits first; then the scales of all rows.
template <class FormatOf, int KvHeads, int HeadDim>
struct CacheLayout {
  using Format = FormatOf;
  static constexpr int dim = (HeadDim + 15) / 16 * 16;
  static constexpr int row_bytes = dim * Format::bits / 8;
  static constexpr int groups =
      Format::group == 0 ? 0 : (dim + Format::group - 1) / (Format::group + (Format::group == 0));
  static constexpr index scales = index{KvHeads} * page_positions * row_bytes;
  static constexpr index bytes_per_position = index{KvHeads} * (row_bytes + 2 * groups);
  static constexpr index page_bytes = bytes_per_position * page_positions;

  static SINTER_MEMBER index row(index kv_head, index position) {
    return kv_head * page_positions + (position & (page_positions - 1));
  }
};

// A score of each query head that its softmax has besides, whose value is 0.
template <class Number>
struct Sinks {
  const Number* scores;  // [heads]
};
template <>
struct Sinks<void> {};

// The first position that a row sees: of those up to its own all; where they are not 0, of the last
// `window` and of those of its own run of `chunk`.
template <class C>
SINTER_INLINE int first_seen(int position) {
  const int of_window = C::window == 0 || position < C::window ? 0 : position - C::window + 1;
  if constexpr (C::chunk > 0) {
    const int of_chunk = position / C::chunk * C::chunk;
    return of_chunk > of_window ? of_chunk : of_window;
  } else {
    return of_window;
  }
}
// Whether a position is not before that one.
template <class C>
SINTER_INLINE bool is_seen(index position, index first) {
  return C::reach == 0 || position >= first;
}

// What float16 cannot hold is a NaN in a cache, and so is every result that sees it; an infinity in
// any cache.
SINTER_INLINE f16 to_cache(float x) {
  const f16 half = static_cast<f16>(x);
  return __builtin_fabsf(x) < 65520.0F ? half : static_cast<f16>(__builtin_nanf(""));
}
template <class Number>
SINTER_INLINE Number to_number(float x) {
  if constexpr (__is_same(Number, f16)) {
    return to_cache(x);
  } else {
    return __builtin_fabsf(x) < __builtin_inff() ? x : __builtin_nanf("");
  }
}

// An integer by which numbers are ordered by size; of x and -x the negative one is the larger. An
// infinity is above all numbers, and NaN above that.
SINTER_INLINE u32 size_order(float x) {
  const u32 bits = __builtin_bit_cast(u32, x);
  return bits << 1 | bits >> 31;
}

// How the numbers of a group become codes.
template <class Format>
struct CodeScale {
  static constexpr u32 zero = 1U << (Format::bits - 1);
  static constexpr u32 mask = 2 * zero - 1;
  f16 scale;
  float inverse;  // -zero / scale

  // `largest`: of size_order() in the group.
  static SINTER_MEMBER CodeScale of(u32 largest) {
    const float x = __builtin_bit_cast(float, largest >> 1 | largest << 31);
    const float size = __builtin_fabsf(x);
    constexpr float least = 0x1p-14F;
    const f16 scale = to_cache(size > 0.0F && size < least ? __builtin_copysignf(least, x) : x);
    const float s = static_cast<float>(scale);
    return {scale, __builtin_fabsf(s) > 0.0F ? -static_cast<float>(zero) / s : 0.0F};
  }
  SINTER_MEMBER u32 code(float x) const {
    constexpr float low = -static_cast<float>(zero);
    constexpr float high = static_cast<float>(zero) - 1.0F;
    const float y = x * inverse;
    const float q = y > low ? (y < high ? y : high) : low;
    // Rounded to even: at this size float32 has no fraction.
    return (__builtin_bit_cast(u32, q + 0x1.8p23F) + zero) & mask;
  }
  // A number but for its scale. Exact, and no conversion, which takes a GPU several times as long:
  // where the last bit of a float32 stands for 1 / zero, a code counts up from `base`.
  static constexpr float base = 0x1p23F / zero;
  static SINTER_MEMBER float number(u32 code) {
    return (base + 1.0F) - __builtin_bit_cast(float, __builtin_bit_cast(u32, base) | code);
  }
};

}  // namespace sinter
