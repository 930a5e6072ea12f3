// The forms in which a row is multiplied: float32, or integers per group.
#pragma once

#include "cpu/prologues.h"

namespace sinter {

// Elements k..k+15 of a row of a prologue, which zeros make `Cols` long.
template <int Cols, class Prologue, class State>
SINTER_INLINE f32x16 padded_at(const Prologue& p, index r, const State& state, index k) {
  if constexpr (Cols == Prologue::cols) {
    return p.at(r, state, k);
  } else {
    if (k + lanes <= Prologue::cols) return p.at(r, state, k);
    f32x16 x = splat(0.0F);
    for (index i = 0; k + i < Prologue::cols; ++i) x[i] = p.scalar(r, state, k + i);
    return x;
  }
}

// Row r of a prologue.
template <int Cols, class Prologue>
SINTER_INLINE void write_floats(float* row, index r, const Prologue& p) {
  const auto state = p.begin(r);
  int k = 0;
  for (; k + lanes <= Cols; k += lanes) store_unaligned(row + k, p.at(r, state, k));
  for (; k < Cols; ++k) row[k] = p.scalar(r, state, k);
}

// Rows as float32.
template <int Cols>
struct FloatRows {
  float* values;  // [rows, Cols]
  index rows;

  static constexpr index bytes(index rows) { return rows * Cols * 4; }
  static inline FloatRows at(unsigned char* base, index rows) {
    return {reinterpret_cast<float*>(base), rows};
  }
  template <class Prologue>
  inline void write(index r, const Prologue& p) const {
    write_floats<Cols>(values + r * Cols, r, p);
  }
};

// Rows as integers with one float32 scale per group of columns: x ~ scale * q. One plane: q in
// -127..127. Two planes: q = 256 high + low in -32512..32512, as exact as a 16-bit float; each
// plane is dotted on its own. `sums` has the sum of q over each group: zero points and biases
// multiply it, the same for all rows of the weights. Group 0: one scale for the row, as BitNet's
// models are trained with. Cols may be more than the prologue's, which are followed by zeros. A
// group with a NaN or an infinity has the scale NaN, and so have all products with it.
template <int Cols, int Group, int Planes>
struct QuantizedRows {
  static constexpr int group = Group == 0 ? Cols : Group;
  static constexpr int groups = Cols / group;
  // Of a row of its own the scale never falls below that of 1e-5.
  static constexpr float least = Group == 0 ? 1e-5F : 1e-30F;
  // The largest q; sums of a lane's do not overflow (most_row_cols in codegen/regions/products.h).
  static constexpr float top = Planes == 1 ? 127.0F : 127.0F * 256.0F;
  static_assert(index{group / lanes} * static_cast<index>(top) <= 0x7fffffff);
  i8* planes;     // [Planes][rows][Cols]
  float* scales;  // [rows][groups]
  float* sums;    // [rows][groups]
  index rows;

  static constexpr index bytes(index rows) { return rows * (index{Planes} * Cols + 8 * groups); }
  static inline QuantizedRows at(unsigned char* base, index rows) {
    float* scales = reinterpret_cast<float*>(base + rows * Planes * Cols);
    return {reinterpret_cast<i8*>(base), scales, scales + rows * groups, rows};
  }

  inline i32 four(int plane, index r, index k) const {
    return load_unaligned<i32>(planes + (plane * rows + r) * Cols + k);
  }

  template <class Prologue>
  inline void write(index r, const Prologue& p) const {
    const auto state = p.begin(r);
    for (int g = 0; g < groups; ++g) {
      const int from = g * group;
      // What is small enough stays in registers.
      constexpr bool keep = group <= 128;
      f32x16 kept[keep ? group / lanes : 1];
      i32x16 largest = i32x16(0);
      for (int i = 0; i < group / lanes; ++i) {
        const f32x16 x = padded_at<Cols>(p, r, state, index{from} + i * lanes);
        if constexpr (keep) kept[i] = x;
        largest = __builtin_elementwise_max(largest, magnitude_bits(x));
      }
      float amax = __builtin_bit_cast(float, reduce_max(largest));
      if constexpr (Group == 0) amax = amax < least ? least : amax;
      // Of what is no number nothing is left but the scale.
      const float inverse = amax >= least ? top / amax : 0.0F;
      i32x16 sum = i32x16(0);
      for (int i = 0; i < group / lanes; ++i) {
        const index k = index{from} + i * lanes;
        f32x16 x;
        if constexpr (keep) {
          x = kept[i];
        } else {
          x = padded_at<Cols>(p, r, state, k);
        }
        const i32x16 q =
            __builtin_convertvector(__builtin_elementwise_roundeven(x * inverse), i32x16);
        sum += q;
        const i8x16 low = __builtin_convertvector(q, i8x16);  // the low byte, as a signed number
        if constexpr (Planes == 1) {
          store_unaligned(planes + r * Cols + k, low);
        } else {
          const i32x16 high = (q - __builtin_convertvector(low, i32x16)) >> 8;
          store_unaligned(planes + r * Cols + k, __builtin_convertvector(high, i8x16));
          store_unaligned(planes + (rows + r) * Cols + k, low);
        }
      }
      scales[r * groups + g] = amax / top + (amax - amax);
      if constexpr (Group == 0) {
        sums[r] = static_cast<float>(reduce_add_wide(sum));
      } else {
        sums[r * groups + g] = static_cast<float>(reduce_add(sum));
      }
    }
  }
};

}  // namespace sinter
