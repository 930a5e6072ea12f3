// The input side of a matrix product: prologues (what is computed on a row before it is multiplied)
// and the forms in which a row is multiplied (float32, or integers per group).
#pragma once

#include "cpu/math.h"
#include "cpu/vector.h"

namespace sinter {

// A prologue gives row r in two steps: begin(r) computes what needs the whole row, at(r, begin(r),
// k) gives elements k..k+15 and scalar(...) one element. `first` is the tensor row that row 0
// stands for. An op by row is the struct of its name: its vectors and attributes are fields, in the
// order of the op table; a vector that is left out is of type void.
template <int Cols>
struct PlainRows {
  const float* x;  // [rows, Cols]
  index first;

  static constexpr int cols = Cols;
  inline float begin(index) const { return 1.0F; }
  inline f32x16 at(index r, float, index k) const { return load(x + (first + r) * Cols + k); }
  inline float scalar(index r, float, index k) const { return x[(first + r) * Cols + k]; }
};

// x * rsqrt(mean(x^2) + eps) * weight
template <int Cols, class Weight>
struct RmsNormRows {
  const float* x;        // [rows, Cols]
  const Weight* weight;  // [Cols]
  float eps;
  index first;

  static constexpr int cols = Cols;
  inline float begin(index r) const {
    const float* row = x + (first + r) * Cols;
    f32x16 squares[2] = {splat(0.0F), splat(0.0F)};
    int k = 0;
    for (; k + 32 <= Cols; k += 32) {
      const f32x16 a = load(row + k);
      const f32x16 b = load(row + k + 16);
      squares[0] = fma(a, a, squares[0]);
      squares[1] = fma(b, b, squares[1]);
    }
    float sum = reduce_add(squares[0] + squares[1]);
    for (; k < Cols; ++k) sum += row[k] * row[k];
    return inverse_root(sum / Cols + eps);
  }
  inline f32x16 at(index r, float factor, index k) const {
    return load(x + (first + r) * Cols + k) * factor * load(weight + k);
  }
  inline float scalar(index r, float factor, index k) const {
    return x[(first + r) * Cols + k] * factor * load_scalar(weight + k);
  }
};

// f(columns k..k+15) for every whole vector of a row, g(column k) for what is left.
template <int Cols, class F, class G>
SINTER_INLINE void for_each_part(const F& f, const G& g) {
  int k = 0;
  for (; k + lanes <= Cols; k += lanes) f(k);
  for (; k < Cols; ++k) g(k);
}

// (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps) * weight + bias
template <int Cols, class Weight, class Bias>
struct LayerNormRows {
  struct State {
    float mean, factor;
  };
  const float* x;        // [rows, Cols]
  const Weight* weight;  // [Cols]
  const Bias* bias;      // [Cols]
  float eps;
  index first;

  static constexpr int cols = Cols;
  static constexpr bool has_bias = !__is_same(Bias, void);
  inline State begin(index r) const {
    const float* row = x + (first + r) * Cols;
    f32x16 sums = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { sums += load(row + k); }, [&](int k) { rest += row[k]; });
    const float mean = (reduce_add(sums) + rest) / Cols;
    f32x16 squares = splat(0.0F);
    rest = 0;
    for_each_part<Cols>(
        [&](int k) {
          const f32x16 off = load(row + k) - mean;
          squares = fma(off, off, squares);
        },
        [&](int k) { rest += (row[k] - mean) * (row[k] - mean); });
    return {mean, inverse_root((reduce_add(squares) + rest) / Cols + eps)};
  }
  inline f32x16 at(index r, State state, index k) const {
    const f32x16 y =
        (load(x + (first + r) * Cols + k) - state.mean) * state.factor * load(weight + k);
    if constexpr (has_bias) {
      return y + load(bias + k);
    } else {
      return y;
    }
  }
  inline float scalar(index r, State state, index k) const {
    const float y =
        (x[(first + r) * Cols + k] - state.mean) * state.factor * load_scalar(weight + k);
    if constexpr (has_bias) {
      return y + load_scalar(bias + k);
    } else {
      return y;
    }
  }
};

// x * rsqrt(sum(x^2) + eps)
template <int Cols>
struct L2NormRows {
  const float* x;  // [rows, Cols]
  float eps;
  index first;

  static constexpr int cols = Cols;
  inline float begin(index r) const {
    const float* row = x + (first + r) * Cols;
    f32x16 squares = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { squares = fma(load(row + k), load(row + k), squares); },
                        [&](int k) { rest += row[k] * row[k]; });
    return inverse_root(reduce_add(squares) + rest + eps);
  }
  inline f32x16 at(index r, float factor, index k) const {
    return load(x + (first + r) * Cols + k) * factor;
  }
  inline float scalar(index r, float factor, index k) const {
    return x[(first + r) * Cols + k] * factor;
  }
};

// e^x / sum(e^x), both times e^-max(x)
template <int Cols>
struct SoftmaxRows {
  struct State {
    float most, factor;
  };
  const float* x;  // [rows, Cols]
  index first;

  static constexpr int cols = Cols;
  inline State begin(index r) const {
    const float* row = x + (first + r) * Cols;
    float most = row[0];
    f32x16 largest = splat(most);
    for_each_part<Cols>([&](int k) { largest = __builtin_elementwise_max(largest, load(row + k)); },
                        [&](int k) { most = row[k] > most ? row[k] : most; });
    const float whole = reduce_max(largest);
    most = whole > most ? whole : most;
    f32x16 sums = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { sums += bounded_exp(load(row + k) - most); },
                        [&](int k) { rest += bounded_exp(row[k] - most); });
    return {most, 1.0F / (reduce_add(sums) + rest)};
  }
  inline f32x16 at(index r, State state, index k) const {
    return bounded_exp(load(x + (first + r) * Cols + k) - state.most) * state.factor;
  }
  inline float scalar(index r, State state, index k) const {
    return bounded_exp(x[(first + r) * Cols + k] - state.most) * state.factor;
  }
};

// Elements k..k+15 of a row of a prologue, which zeros make `Cols` long.
template <int Cols, class Prologue, class State>
SINTER_INLINE f32x16 padded_at(const Prologue& p, index r, State state, index k) {
  if constexpr (Cols == Prologue::cols) {
    return p.at(r, state, k);
  } else {
    if (k + lanes <= Prologue::cols) return p.at(r, state, k);
    f32x16 x = splat(0.0F);
    for (index i = 0; k + i < Prologue::cols; ++i) x[i] = p.scalar(r, state, k + i);
    return x;
  }
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
    const auto state = p.begin(r);
    float* row = values + r * Cols;
    int k = 0;
    for (; k + lanes <= Cols; k += lanes) store_unaligned(row + k, p.at(r, state, k));
    for (; k < Cols; ++k) row[k] = p.scalar(r, state, k);
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
