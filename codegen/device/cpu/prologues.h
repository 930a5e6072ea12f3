// What is computed on a row before it is multiplied or written: norms and elementwise ops, in any
// order, from rows in memory.
#pragma once

#include "cpu/math.h"
#include "cpu/vector.h"
#include "sparsemixer.h"
#include "step.h"

namespace sinter {

// A prologue gives row r in two steps: begin(r) computes what needs the whole row, at(r, begin(r),
// k) gives elements k..k+15 and scalar(...) one element. `source` says which row of the tensor
// row r is. An op by row is the struct of its name: its vectors and attributes are fields, in the
// order of the op table; a vector that is left out is of type void. What it reads is a tensor, or
// another prologue.
template <int Cols>
struct PlainRows {
  const float* x;  // [rows, Cols]
  RowMap source;

  static constexpr int cols = Cols;
  inline float begin(index) const { return 1.0F; }
  inline f32x16 at(index r, float, index k) const { return load(x + source(r) * Cols + k); }
  inline float scalar(index r, float, index k) const { return x[source(r) * Cols + k]; }
};

// A head where views have left it: row r is run r % Count of row r / Count of a tensor, `Offset`
// and `Stride` elements apart.
template <int Cols, int Count, int Row, int Offset, int Stride>
struct RunRows {
  const float* x;  // [rows / Count, Row]

  static constexpr int cols = Cols;
  inline const float* row(index r) const {
    return x + r / Count * Row + Offset + r % Count * Stride;
  }
  inline float begin(index) const { return 1.0F; }
  inline f32x16 at(index r, float, index k) const { return load(row(r) + k); }
  inline float scalar(index r, float, index k) const { return row(r)[k]; }
};

// A row that an op reads, once what needs all of it is known.
struct MemoryRow {
  const float* row;
  inline f32x16 at(index k) const { return load(row + k); }
  inline float scalar(index k) const { return row[k]; }
};
template <class Prologue>
struct PrologueRow {
  const Prologue* prologue;
  index r;
  decltype(prologue->begin(0)) state;
  inline f32x16 at(index k) const { return prologue->at(r, state, k); }
  inline float scalar(index k) const { return prologue->scalar(r, state, k); }
};
template <int Cols>
SINTER_INLINE MemoryRow open_row(const float* x, index r) {
  return {x + r * Cols};
}
template <int Cols, class Prologue>
SINTER_INLINE PrologueRow<Prologue> open_row(const Prologue& x, index r) {
  return {&x, r, x.begin(r)};
}
template <class T>
const T& declared();  // for types alone
template <int Cols, class Source>
using RowOf = decltype(open_row<Cols>(declared<Source>(), 0));

// f(columns k..k+15) for every whole vector of a row, g(column k) for what is left.
template <int Cols, class F, class G>
SINTER_INLINE void for_each_part(const F& f, const G& g) {
  int k = 0;
  for (; k + lanes <= Cols; k += lanes) f(k);
  for (; k < Cols; ++k) g(k);
}

// x * rsqrt(mean(x^2) + eps) * weight
template <int Cols, class Weight, class Source = const float*>
struct RmsNormRows {
  static constexpr bool has_weight = !__is_void(Weight);
  struct State {
    RowOf<Cols, Source> row;
    float factor;
  };
  Source x;              // [rows, Cols]
  const Weight* weight;  // [Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  inline State begin(index r) const {
    const auto row = open_row<Cols>(x, source(r));
    f32x16 squares[2] = {splat(0.0F), splat(0.0F)};
    int k = 0;
    for (; k + 32 <= Cols; k += 32) {
      const f32x16 a = row.at(k);
      const f32x16 b = row.at(k + 16);
      squares[0] = fma(a, a, squares[0]);
      squares[1] = fma(b, b, squares[1]);
    }
    float sum = reduce_add(squares[0] + squares[1]);
    for (; k < Cols; ++k) {
      const float y = row.scalar(k);
      sum += y * y;
    }
    return {row, inverse_root(sum / Cols + eps)};
  }
  inline f32x16 at(index, const State& state, index k) const {
    const f32x16 y = state.row.at(k) * state.factor;
    if constexpr (has_weight) {
      return y * load(weight + k);
    } else {
      return y;
    }
  }
  inline float scalar(index, const State& state, index k) const {
    const float y = state.row.scalar(k) * state.factor;
    if constexpr (has_weight) {
      return y * load_scalar(weight + k);
    } else {
      return y;
    }
  }
};

// (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps) * weight + bias
template <int Cols, class Weight, class Bias, class Source = const float*>
struct LayerNormRows {
  struct State {
    RowOf<Cols, Source> row;
    float mean, factor;
  };
  Source x;              // [rows, Cols]
  const Weight* weight;  // [Cols]
  const Bias* bias;      // [Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  static constexpr bool has_bias = !__is_same(Bias, void);
  inline State begin(index r) const {
    const auto row = open_row<Cols>(x, source(r));
    f32x16 sums = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { sums += row.at(k); }, [&](int k) { rest += row.scalar(k); });
    const float mean = (reduce_add(sums) + rest) / Cols;
    f32x16 squares = splat(0.0F);
    rest = 0;
    for_each_part<Cols>(
        [&](int k) {
          const f32x16 off = row.at(k) - mean;
          squares = fma(off, off, squares);
        },
        [&](int k) {
          const float off = row.scalar(k) - mean;
          rest += off * off;
        });
    return {row, mean, inverse_root((reduce_add(squares) + rest) / Cols + eps)};
  }
  inline f32x16 at(index, const State& state, index k) const {
    const f32x16 y = (state.row.at(k) - state.mean) * state.factor * load(weight + k);
    if constexpr (has_bias) {
      return y + load(bias + k);
    } else {
      return y;
    }
  }
  inline float scalar(index, const State& state, index k) const {
    const float y = (state.row.scalar(k) - state.mean) * state.factor * load_scalar(weight + k);
    if constexpr (has_bias) {
      return y + load_scalar(bias + k);
    } else {
      return y;
    }
  }
};

// What is one factor times x.
template <int Cols, class Source>
struct ScaledRow {
  RowOf<Cols, Source> row;
  float factor;
};

// x * rsqrt(sum(x^2) + eps)
template <int Cols, class Source = const float*>
struct L2NormRows {
  using State = ScaledRow<Cols, Source>;
  Source x;  // [rows, Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  inline State begin(index r) const {
    const auto row = open_row<Cols>(x, source(r));
    f32x16 squares = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>(
        [&](int k) {
          const f32x16 y = row.at(k);
          squares = fma(y, y, squares);
        },
        [&](int k) {
          const float y = row.scalar(k);
          rest += y * y;
        });
    return {row, inverse_root(reduce_add(squares) + rest + eps)};
  }
  inline f32x16 at(index, const State& state, index k) const {
    return state.row.at(k) * state.factor;
  }
  inline float scalar(index, const State& state, index k) const {
    return state.row.scalar(k) * state.factor;
  }
};

// x / (sum(x) + eps)
template <int Cols, class Source = const float*>
struct SumNormRows {
  using State = ScaledRow<Cols, Source>;
  Source x;  // [rows, Cols]
  float eps;
  RowMap source;

  static constexpr int cols = Cols;
  inline State begin(index r) const {
    const auto row = open_row<Cols>(x, source(r));
    f32x16 sums = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { sums += row.at(k); }, [&](int k) { rest += row.scalar(k); });
    return {row, 1.0F / (reduce_add(sums) + rest + eps)};
  }
  inline f32x16 at(index, const State& state, index k) const {
    return state.row.at(k) * state.factor;
  }
  inline float scalar(index, const State& state, index k) const {
    return state.row.scalar(k) * state.factor;
  }
};

// mean(x), in every column
template <int Cols, class Source = const float*>
struct MeanRows {
  Source x;  // [rows, Cols]
  RowMap source;

  static constexpr int cols = Cols;
  inline float begin(index r) const {
    const auto row = open_row<Cols>(x, source(r));
    f32x16 sums = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { sums += row.at(k); }, [&](int k) { rest += row.scalar(k); });
    return (reduce_add(sums) + rest) / Cols;
  }
  inline f32x16 at(index, float mean, index) const { return splat(mean); }
  inline float scalar(index, float mean, index) const { return mean; }
};

// e^x / sum(e^x), both times e^-max(x)
template <int Cols, class Source = const float*>
struct SoftmaxRows {
  struct State {
    RowOf<Cols, Source> row;
    float most, factor;
  };
  Source x;  // [rows, Cols]
  RowMap source;

  static constexpr int cols = Cols;
  inline State begin(index r) const {
    const auto row = open_row<Cols>(x, source(r));
    float most = row.scalar(0);
    f32x16 largest = splat(most);
    for_each_part<Cols>([&](int k) { largest = __builtin_elementwise_max(largest, row.at(k)); },
                        [&](int k) {
                          const float y = row.scalar(k);
                          most = y > most ? y : most;
                        });
    const float whole = reduce_max(largest);
    most = whole > most ? whole : most;
    f32x16 sums = splat(0.0F);
    float rest = 0;
    for_each_part<Cols>([&](int k) { sums += bounded_exp(row.at(k) - most); },
                        [&](int k) { rest += bounded_exp(row.scalar(k) - most); });
    return {row, most, 1.0F / (reduce_add(sums) + rest)};
  }
  inline f32x16 at(index, const State& state, index k) const {
    return bounded_exp(state.row.at(k) - state.most) * state.factor;
  }
  inline float scalar(index, const State& state, index k) const {
    return bounded_exp(state.row.scalar(k) - state.most) * state.factor;
  }
};

// x[i], x[i ^ Apart] of a vector -> their sum, and below Apart the difference.
template <int Apart>
SINTER_INLINE f32x16 butterfly(f32x16 x) {
  const f32x16 other = __builtin_shufflevector(
      x, x, 0 ^ Apart, 1 ^ Apart, 2 ^ Apart, 3 ^ Apart, 4 ^ Apart, 5 ^ Apart, 6 ^ Apart, 7 ^ Apart,
      8 ^ Apart, 9 ^ Apart, 10 ^ Apart, 11 ^ Apart, 12 ^ Apart, 13 ^ Apart, 14 ^ Apart, 15 ^ Apart);
  f32x16 sign;
  for (int i = 0; i < lanes; ++i) sign[i] = (i & Apart) != 0 ? -1.0F : 1.0F;
  return fma(x, sign, other);
}

// H (signs x), or signs (H x): the Walsh-Hadamard transform of runs of Block columns, in
// Sylvester's order. What columns have in common lies in memory: a row is transformed once, then
// read.
template <int Cols, class Signs, int Block, bool Inverse, class Source = const float*>
struct RotateRows {
  static constexpr bool has_signs = !__is_void(Signs);
  static constexpr int vectors = (Cols + lanes - 1) / lanes;
  static constexpr int run = Block < lanes ? 1 : Block / lanes;  // vectors that meet
  struct State {
    f32x16 y[vectors + 1];  // one more: elementwise work on the last columns reads a whole vector
  };
  Source x;            // [rows, Cols]
  const Signs* signs;  // [Cols]
  RowMap source;

  static constexpr int cols = Cols;
  inline State begin(index r) const {
    State state;
    const auto row = open_row<Cols>(x, source(r));
    // A block after the other: it is still at hand when its vectors meet.
    for (int first = 0; first < vectors; first += run) {
      for (int v = first; v < first + run; ++v) {
        const int k = v * lanes;
        f32x16 y = splat(0.0F);
        f32x16 factors;
        if (k + lanes <= Cols) {
          y = row.at(k);
          factors = factors_at(k);
        } else {
          factors = splat(1.0F);
          for (int i = 0; k + i < Cols; ++i) {
            y[i] = row.scalar(k + i);
            factors[i] = factor_at(k + i);
          }
        }
        if constexpr (!Inverse) y *= factors;
        y = butterfly<1>(y);
        if constexpr (Block > 2) y = butterfly<2>(y);
        if constexpr (Block > 4) y = butterfly<4>(y);
        if constexpr (Block > 8) y = butterfly<8>(y);
        if constexpr (Inverse && run == 1) y *= factors;
        state.y[v] = y;
      }
      if constexpr (run > 1) meet(state.y + first, first * lanes);
    }
    return state;
  }
  inline f32x16 at(index, const State& state, index k) const {
    return load(reinterpret_cast<const float*>(state.y) + k);
  }
  inline float scalar(index, const State& state, index k) const {
    return reinterpret_cast<const float*>(state.y)[k];
  }

 private:
  static constexpr float scale = inverse_root_of_power(Block);
  inline f32x16 factors_at(index k) const {
    if constexpr (has_signs) return load(signs + k) * scale;
    return splat(scale);
  }
  inline float factor_at(index k) const {
    if constexpr (has_signs) return load_scalar(signs + k) * scale;
    return scale;
  }
  // The vectors of a block, which begins with column k. Two steps at a time: each number is loaded
  // and stored half as often.
  inline void meet(f32x16* y, index k) const {
    int apart = 1;
    for (; apart * 2 < run; apart *= 4)
      for (int group = 0; group < run; group += 4 * apart)
        for (int i = group; i < group + apart; ++i) {
          const f32x16 a = y[i] + y[i + apart];
          const f32x16 b = y[i] - y[i + apart];
          const f32x16 c = y[i + 2 * apart] + y[i + 3 * apart];
          const f32x16 d = y[i + 2 * apart] - y[i + 3 * apart];
          y[i] = a + c;
          y[i + apart] = b + d;
          y[i + 2 * apart] = a - c;
          y[i + 3 * apart] = b - d;
        }
    if (apart < run)
      for (int i = 0; i < apart; ++i) {
        const f32x16 a = y[i];
        const f32x16 b = y[i + apart];
        y[i] = a + b;
        y[i + apart] = a - b;
      }
    if constexpr (Inverse)
      for (int i = 0; i < run; ++i) y[i] *= factors_at(k + i * lanes);
  }
};

// The values of x in the columns that a row names; a vector has the same for all rows.
template <int Cols, int Width, class T, bool OfVector>
struct GatherRows {
  const T* x;          // [rows, Width], or [Width]
  const i32* columns;  // [rows, Cols]

  static constexpr int cols = Cols;
  inline float begin(index) const { return 1.0F; }
  inline f32x16 at(index r, float, index k) const {
    f32x16 y = splat(0.0F);
    for (index i = 0; i < lanes && k + i < Cols; ++i) y[i] = scalar(r, 1.0F, k + i);
    return y;
  }
  inline float scalar(index r, float, index k) const {
    return load_scalar(x + (OfVector ? 0 : r * Width) + columns[r * Cols + k]);
  }
};

// SparseMixer's shares of the columns that a row names: of those that are not chosen before and not
// far below.
template <int Cols, int Width, class T, bool OfVector>
struct SparsemixerRows {
  const float* x;      // [rows, Width]
  const i32* columns;  // [rows, Cols]
  float margin;

  static constexpr int cols = Cols;
  inline float begin(index) const { return 1.0F; }
  inline f32x16 at(index r, float, index k) const {
    f32x16 y = splat(0.0F);
    for (index i = 0; i < lanes && k + i < Cols; ++i) y[i] = scalar(r, 1.0F, k + i);
    return y;
  }
  inline float scalar(index r, float, index k) const {
    return sparsemixer_share<Width>(x + r * Width, columns + r * Cols, k, margin,
                                    [](float y) { return bounded_exp(y); });
  }
};

// Prologues that an elementwise function takes its arguments from.
template <class... Prologues>
struct Arguments {
  struct State {};
  inline State begin(index) const { return {}; }
  template <class F>
  inline auto at(index, State, index, const F& f) const {
    return f();
  }
};
template <class First, class... Rest>
struct Arguments<First, Rest...> {
  First first;
  Arguments<Rest...> rest;
  struct State {
    decltype(first.begin(0)) first_state;
    decltype(rest.begin(0)) rest_state;
  };
  inline State begin(index r) const { return {first.begin(r), rest.begin(r)}; }
  template <class F>
  inline auto at(index r, const State& state, index k, const F& f) const {
    const auto y = first.at(r, state.first_state, k);
    return rest.at(r, state.rest_state, k, [&](auto... ys) { return f(y, ys...); });
  }
};

// f(row, column, columns left, elements of each of the prologues)
template <int Cols, class F, class Prologues>
struct MapRows {
  F f;
  Prologues arguments;

  static constexpr int cols = Cols;
  inline auto begin(index r) const { return arguments.begin(r); }
  template <class State>
  inline f32x16 at(index r, const State& state, index k) const {
    return arguments.at(r, state, k, [&](auto... ys) __attribute__((always_inline)) {
      return f(r, k, Cols - k, ys...);
    });
  }
  template <class State>
  inline float scalar(index r, const State& state, index k) const {
    return at(r, state, k)[0];
  }
};
SINTER_INLINE Arguments<> make_arguments() { return {}; }
template <class First, class... Rest>
SINTER_INLINE Arguments<First, Rest...> make_arguments(const First& first, const Rest&... rest) {
  return {first, make_arguments(rest...)};
}
template <int Cols, class F, class... Prologues>
SINTER_INLINE MapRows<Cols, F, Arguments<Prologues...>> map_rows(const F& f,
                                                                 const Prologues&... prologues) {
  return {f, make_arguments(prologues...)};
}

// A prologue whose rows are written too, by those that keep them.
template <int Cols, class Prologue>
struct KeptRows {
  Prologue x;
  float* out;  // [rows, Cols]
  bool keep;

  static constexpr int cols = Cols;
  inline auto begin(index r) const { return x.begin(r); }
  template <class State>
  inline f32x16 at(index r, const State& state, index k) const {
    const f32x16 y = x.at(r, state, k);
    if (keep) store_unaligned(out + r * Cols + k, y);
    return y;
  }
  template <class State>
  inline float scalar(index r, const State& state, index k) const {
    const float y = x.scalar(r, state, k);
    if (keep) out[r * Cols + k] = y;
    return y;
  }
};
template <int Cols, class Prologue>
SINTER_INLINE KeptRows<Cols, Prologue> keep_rows(const Prologue& x, float* out, bool keep) {
  return {x, out, keep};
}

}  // namespace sinter
