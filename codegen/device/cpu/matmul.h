// Matrix products y = x w^T over packed weights, with a prologue on x and an epilogue on y. One
// tile of 16 output rows at a time; up to `max_columns` rows of x share one unpacking of the
// weights.
#pragma once

#include "cpu/activations.h"
#include "cpu/weights.h"
#include "kernel_abi.h"

namespace sinter {

// Coded weights times quantized rows m0..m0+M-1: y[m] = the tile's 16 outputs.
template <int M, class W, int Planes>
SINTER_INLINE void multiply_tile(const W& w, index tile,
                                 const QuantizedRows<W::cols, W::group, Planes>& x, index m0,
                                 f32x16* y) {
  // Independent sums per row of x, to hide the latency of the dot instruction when there are few
  // rows.
  constexpr int chains = M * Planes >= 4 ? 1 : 4 / (M * Planes);
  constexpr int steps = W::group / 4;
  const u8* codes = w.codes + tile * W::tile_bytes;
  for (int m = 0; m < M; ++m) y[m] = splat(0.0F);
  for (int g = 0; g < W::groups; ++g) {
    // The same group of the tile that comes next: tiles are pages apart, where hardware prefetchers
    // stop.
    for (int line = 0; line < W::group * 2 * W::bits; line += 64)
      __builtin_prefetch(codes + W::tile_bytes + line, 0, 2);
    i32x16 sums[M][Planes][chains];
    for (int m = 0; m < M; ++m)
      for (int p = 0; p < Planes; ++p)
        for (int c = 0; c < chains; ++c) sums[m][p][c] = i32x16(0);
#pragma clang loop unroll(full)
    for (int s = 0; s < steps; ++s) {
      const u32x16 four = Codes<W::bits>::unpack(codes, W::group, s);
#pragma clang loop unroll(full)
      for (int m = 0; m < M; ++m)
#pragma clang loop unroll(full)
        for (int p = 0; p < Planes; ++p)
          sums[m][p][s % chains] = dot4<W::bits>(sums[m][p][s % chains], four,
                                                 x.four(p, m0 + m, index{g} * W::group + s * 4));
    }
    codes += index{W::group} * 2 * W::bits;
    const index at = (tile * W::groups + g) * tile_rows;
    const f32x16 scale = load(w.scales + at);
#pragma clang loop unroll(full)
    for (int m = 0; m < M; ++m) {
      i32x16 total = sums[m][0][0];
      for (int c = 1; c < chains; ++c) total += sums[m][0][c];
      if constexpr (Planes == 2) {
        i32x16 low = sums[m][1][0];
        for (int c = 1; c < chains; ++c) low += sums[m][1][c];
        total = (total << 8) + low;
      }
      const index row = (m0 + m) * W::groups + g;
      f32x16 dot = __builtin_convertvector(total, f32x16);
      if constexpr (W::has_bias) {
        dot = fma(dot, scale, load(w.biases + at) * x.sums[row]);
        y[m] = fma(dot, splat(x.scales[row]), y[m]);
      } else {
        y[m] = fma(dot - W::zero * x.sums[row], scale * x.scales[row], y[m]);
      }
    }
  }
}

// Dense weights times float rows.
template <int M, class W>
SINTER_INLINE void multiply_tile(const W& w, index tile, const FloatRows<W::cols>& x, index m0,
                                 f32x16* y) {
  constexpr int chains = M >= 4 ? 1 : 4 / M;
  const auto* values = w.values + tile * W::cols * tile_rows;
  f32x16 sums[M][chains];
  for (int m = 0; m < M; ++m)
    for (int c = 0; c < chains; ++c) sums[m][c] = splat(0.0F);
  int k = 0;
  for (; k + chains <= W::cols; k += chains)
#pragma clang loop unroll(full)
    for (int c = 0; c < chains; ++c) {
      const f32x16 column = load(values + index{k + c} * tile_rows);
#pragma clang loop unroll(full)
      for (int m = 0; m < M; ++m)
        sums[m][c] = fma(column, splat(x.values[(m0 + m) * W::cols + k + c]), sums[m][c]);
    }
  for (; k < W::cols; ++k) {
    const f32x16 column = load(values + index{k} * tile_rows);
    for (int m = 0; m < M; ++m)
      sums[m][0] = fma(column, splat(x.values[(m0 + m) * W::cols + k]), sums[m][0]);
  }
  for (int m = 0; m < M; ++m) {
    y[m] = sums[m][0];
    for (int c = 1; c < chains; ++c) y[m] += sums[m][c];
  }
}

// Rows m0.. of one tile of every part, M rows at a time while they last, then fewer.
template <int M, int Parts, int Rows, class W, class X, class Epilogue>
SINTER_INLINE void tile_rows_from(const W& w, index tile, const X& x, index& m0, index end,
                                  const Epilogue& epilogue) {
  constexpr index part_tiles = (Rows + tile_rows - 1) / tile_rows;
  for (; m0 + M <= end; m0 += M) {
    f32x16 y[Parts][M];
    for (int part = 0; part < Parts; ++part)
      multiply_tile<M>(w, part * part_tiles + tile, x, m0, y[part]);
    const index n = Rows - tile * tile_rows;
    for (int m = 0; m < M; ++m) {
      if constexpr (Parts == 1) epilogue(m0 + m, tile * tile_rows, n, y[0][m]);
      if constexpr (Parts == 2) epilogue(m0 + m, tile * tile_rows, n, y[0][m], y[1][m]);
    }
  }
}

// y = x w^T for the rows of x. `Parts` matrices of `Rows` rows each, one after another in w, each
// starting a tile, go to the epilogue together: epilogue(row, first output column, outputs left in
// the part, y of part 0, y of part 1).
template <int Parts, int Rows, class W, class X, class Epilogue>
SINTER_INLINE void multiply(const Launch* launch, const W& w, const X& x,
                            const Epilogue& epilogue) {
  constexpr index part_tiles = (Rows + tile_rows - 1) / tile_rows;
  const Range tiles = share(part_tiles, launch->worker, launch->workers);
  for (index tile = tiles.begin; tile < tiles.end; ++tile) {
    index m = 0;
    if (x.rows > 1) {
      tile_rows_from<max_columns, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
      if constexpr (max_columns > 4)
        tile_rows_from<4, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
      tile_rows_from<2, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
    }
    tile_rows_from<1, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
  }
}

// One row of x: every worker computes the prologue for itself, which costs less than meeting at a
// barrier.
template <class X, int Parts, int Rows, class W, class Prologue, class Epilogue>
SINTER_INLINE void matmul_one_row(const Launch* launch, const W& w, const Prologue& prologue,
                                  const Epilogue& epilogue) {
  constexpr index part_tiles = (Rows + tile_rows - 1) / tile_rows;
  const Range tiles = share(part_tiles, launch->worker, launch->workers);
  const X x = X::at(launch->scratch, 1);
  x.write(0, prologue);
  for (index tile = tiles.begin; tile < tiles.end; ++tile) {
    index m = 0;
    tile_rows_from<1, Parts, Rows>(w, tile, x, m, 1, epilogue);
  }
}

// Many rows: the prologue is a phase of its own, its rows shared among the workers.
template <class X, class Prologue>
SINTER_INLINE void write_rows(const Launch* launch, unsigned char* out, index rows,
                              const Prologue& prologue) {
  const X x = X::at(out, rows);
  const Range mine = share(rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r) x.write(r, prologue);
}

}  // namespace sinter
