// Mixtures of experts: which columns of a row are the largest, and products with the matrices that
// they name.
#pragma once

#include "cpu/matmul.h"
#include "score_groups.h"

namespace sinter {

// out [rows, K]: columns of the K largest of x [rows, Cols], the largest first; of equal ones the
// lower column first. Of several groups of columns only those of the Kept count that their Best
// largest say.
template <int Cols, int K, int Groups = 1, int Kept = 1, int Best = 1>
SINTER_INLINE void top_k(const Launch* launch, const float* x, index rows, i32* out) {
  constexpr int size = Cols / Groups;
  const Range mine = share(rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r) {
    i32* best = out + r * K;
    int found = 0;
    float scores[Groups];
    if constexpr (Groups > 1)
      for (int g = 0; g < Groups; ++g) scores[g] = group_score<size, Best>(x + r * Cols + g * size);
    for (i32 c = 0; c < Cols; ++c) {
      if constexpr (Groups > 1) {
        if (c % size == 0 && !is_kept<Groups, Kept>(scores, c / size)) {
          c += size - 1;
          continue;
        }
      }
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

// Tile `tile` of the matrix of an expert times row m of x; w holds matrices of Rows rows, each
// starting a tile.
template <int Rows, class W, class X>
SINTER_INLINE f32x16 expert_tile(const W& w, index expert, index tile, const X& x, index m) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  f32x16 y;
  multiply_tile<1>(w, expert * tiles + tile, expert * Rows + tile * tile_rows, x, m, &y);
  return y;
}

// Rows of x times the matrices that experts [rows, Chosen] names. x has a row for each choice, or
// for each row of the step: epilogue(row and choice, first output column, outputs left, y of each
// w).
template <class X, int Chosen, bool Each, int Rows, class Epilogue, class... W>
SINTER_INLINE void gather_multiply(const Launch* launch, const i32* experts, const X& x,
                                   index tokens, const Epilogue& epilogue, const W&... w) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  const Range units = share(tokens * Chosen * tiles, launch->worker, launch->workers);
  for (index unit = units.begin; unit < units.end; ++unit) {
    const index pair = unit / tiles;
    const index tile = unit % tiles;
    epilogue(pair, tile * tile_rows, Rows - tile * tile_rows,
             expert_tile<Rows>(w, experts[pair], tile, x, Each ? pair : pair / Chosen)...);
  }
}

// The same, then summed over a token's choices, each times its weight [tokens, Chosen]:
// epilogue(token, first output column, outputs left, sum) of what term(token and choice, ...)
// gives.
template <class X, int Chosen, bool Each, int Rows, class Term, class Epilogue, class... W>
SINTER_INLINE void gather_sum(const Launch* launch, const i32* experts, const float* weights,
                              const X& x, index tokens, const Term& term, const Epilogue& epilogue,
                              const W&... w) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  const Range units = share(tokens * tiles, launch->worker, launch->workers);
  for (index unit = units.begin; unit < units.end; ++unit) {
    const index token = unit / tiles;
    const index tile = unit % tiles;
    const index col = tile * tile_rows;
    f32x16 sum = splat(0.0F);
    for (index pair = token * Chosen; pair < (token + 1) * Chosen; ++pair)
      sum = fma(splat(weights[pair]),
                term(pair, col, Rows - col,
                     expert_tile<Rows>(w, experts[pair], tile, x, Each ? pair : token)...),
                sum);
    epilogue(token, col, Rows - col, sum);
  }
}

// Rows of x, prepared in the worker's scratch memory.
template <class X, int Rows, class Prologue>
SINTER_INLINE X prepare_rows(const Launch* launch, const Prologue& prologue) {
  const X x = X::at(launch->scratch, Rows);
  for (index r = 0; r < Rows; ++r) x.write(r, prologue);
  return x;
}

// Whether all other workers of the phase have come here; they do not wait. What they wrote is seen.
// `counter` is zero between phases.
SINTER_INLINE bool arrives_last(const Launch* launch, i32* counter) {
  if (__atomic_add_fetch(counter, 1, __ATOMIC_ACQ_REL) != launch->workers) return false;
  __atomic_store_n(counter, 0, __ATOMIC_RELAXED);
  return true;
}
// The phase's work as that of one worker.
SINTER_INLINE Launch alone(const Launch* launch) {
  Launch last = *launch;
  last.worker = 0;
  last.workers = 1;
  return last;
}

}  // namespace sinter
