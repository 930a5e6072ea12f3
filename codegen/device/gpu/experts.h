// Mixtures of experts: which columns of a row are the largest, and products with the matrices that
// they name.
#pragma once

#include "gpu/matvec.h"

namespace sinter {

// out [rows, K]: columns of the K largest of x [rows, Cols], the largest first; of equal ones the
// lower column first. A block takes a row, and finds one after another.
template <int Cols, int K>
SINTER_INLINE void top_k(const Launch* launch, const float* x, index rows, i32* out) {
  float* const values = reinterpret_cast<float*>(shared_memory());
  i32* const columns = reinterpret_cast<i32*>(values + waves);
  for (index r = launch->worker; r < rows; r += launch->workers) {
    // What was found last: the rest is smaller, or equal and further right.
    float last = __builtin_inff();
    i32 last_column = -1;
    for (int i = 0; i < K; ++i) {
      float best = -__builtin_inff();
      i32 column = Cols;
      for (i32 c = thread(); c < Cols; c += threads) {
        // A column is found whatever there is: a NaN counts as the smallest.
        const float given = x[r * Cols + c];
        const float value = given == given ? given : -__builtin_inff();
        const bool left = value < last || (value == last && c > last_column);
        if (left && (value > best || column == Cols)) {
          best = value;
          column = c;
        }
      }
      const auto take = [&](float value, i32 c) {
        const bool better =
            c < Cols && (column == Cols || value > best || (value == best && c < column));
        best = better ? value : best;
        column = better ? c : column;
      };
#pragma clang loop unroll(full)
      for (int mask = 1; mask < wave_size; mask *= 2)
        take(shuffle_xor(best, mask), shuffle_xor(column, mask));
      barrier();
      if (lane() == 0) {
        values[wave()] = best;
        columns[wave()] = column;
      }
      barrier();
      best = values[0];
      column = columns[0];
      for (int w = 1; w < waves; ++w) take(values[w], columns[w]);
      if (thread() == 0) out[r * K + i] = column;
      last = best;
      last_column = column;
    }
    barrier();
  }
}

// A row of the input where the phase before left it, in the words of SharedRow and SharedFloats.
template <class X>
struct GlobalRow;
template <int Cols, int Group, int Planes>
struct GlobalRow<QuantizedRows<Cols, Group, Planes>> {
  using X = QuantizedRows<Cols, Group, Planes>;
  static constexpr int planes = Planes;
  const X& x;
  index row;
  __device__ __attribute__((always_inline)) u32x4 codes(int plane, int block, int k) const {
    return *reinterpret_cast<const u32x4*>(x.codes + (plane * x.rows + row) * X::row_codes +
                                           block * block_cols + k);
  }
  __device__ __attribute__((always_inline)) GroupScale scale(int group) const {
    return x.scales[row * X::groups + group];
  }
};
template <int Cols>
struct GlobalRow<FloatRows<Cols>> {
  const u8* base;
  __device__ GlobalRow(const FloatRows<Cols>& x, index row)
      : base(reinterpret_cast<const u8*>(x.values + row * Cols)) {}
};

// out [tokens, Chosen, Rows]: x times matrix experts[token, choice] of w, which holds Experts
// matrices of Rows rows, each starting a tile. x has a row for each choice, or for each token. A
// wave takes a tile.
template <int Chosen, bool Each, int Experts, int Rows, class W, class X>
SINTER_INLINE void gather_multiply(const Launch* launch, const W& w, const i32* experts, const X& x,
                                   float* out) {
  using Form = OneRow<X>;
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  const index units = launch->step->tokens * index{Chosen} * tiles;
  for (index unit = launch->worker * index{waves} + wave(); unit < units;
       unit += launch->workers * index{waves}) {
    const index pair = unit / tiles;
    const index tile = unit % tiles;
    const index expert = experts[pair];
    const GlobalRow<X> row{x, Each ? pair : pair / Chosen};
    float y = 0;
#pragma clang loop unroll(disable)
    for (int step = 0; step < Form::steps; ++step) {
      typename Form::template Piece<W> piece;
      piece.read(w, expert * tiles + tile, step);
      y += piece.multiply(w, expert * tiles + tile, step, row);
    }
#pragma clang loop unroll(full)
    for (int mask = tile_rows; mask < wave_size; mask *= 2) y += shuffle_xor(y, mask);
    const index col = tile * tile_rows + lane();
    if (lane() < tile_rows && col < Rows)
      out[pair * Rows + col] = Form::finish(w, expert * Rows + col, y, row);
  }
}

}  // namespace sinter
