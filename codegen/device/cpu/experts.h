// Mixtures of experts: which columns of a row are the largest, and products with the matrices that
// they name.
#pragma once

#include "cpu/matmul.h"

namespace sinter {

// out [rows, K]: columns of the K largest of x [rows, Cols], the largest first; of equal ones the
// lower column first.
template <int Cols, int K>
SINTER_INLINE void top_k(const Launch* launch, const float* x, index rows, i32* out) {
  const Range mine = share(rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r) {
    i32* best = out + r * K;
    int found = 0;
    for (i32 c = 0; c < Cols; ++c) {
      const float value = x[r * Cols + c];
      int at = found;
      while (at > 0 && value > x[r * Cols + best[at - 1]]) --at;
      if (at == K) continue;
      found = found < K ? found + 1 : K;
      for (int i = found - 1; i > at; --i) best[i] = best[i - 1];
      best[at] = c;
    }
  }
}

// out [tokens, Chosen, Rows]: x times matrix experts[token, choice] of w, which holds Experts
// matrices of Rows rows, each starting a tile. x has a row for each choice, or for each token.
template <int Chosen, bool Each, int Experts, int Rows, class W, class X>
SINTER_INLINE void gather_multiply(const Launch* launch, const W& w, const i32* experts, const X& x,
                                   float* out) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  const index pairs = launch->step->tokens * index{Chosen};
  const Range units = share(pairs * tiles, launch->worker, launch->workers);
  for (index unit = units.begin; unit < units.end; ++unit) {
    const index pair = unit / tiles;
    const index tile = unit % tiles;
    const index expert = experts[pair];
    f32x16 y;
    multiply_tile<1>(w, expert * tiles + tile, expert * Rows + tile * tile_rows, x,
                     Each ? pair : pair / Chosen, &y);
    store(out + pair * Rows + tile * tile_rows, y, Rows - tile * tile_rows);
  }
}

}  // namespace sinter
