// Matrix products y = x w^T over packed weights, with a prologue on x and an epilogue on y. One
// tile of 16 output rows at a time; up to `max_columns` rows of x share one unpacking of the
// weights.
#pragma once

#include "cpu/activations.h"
#include "cpu/weights.h"
#include "step.h"

namespace sinter {

// Integer sums of one run of columns, per row of x. Independent ones hide the latency of the dot
// instruction when there are few rows.
template <int M, int Planes>
struct IntegerSums {
  static constexpr int chains = M * Planes >= 4 ? 1 : 4 / (M * Planes);
  i32x16 sums[M][Planes][chains];

  inline __attribute__((always_inline)) void clear() {
    for (int m = 0; m < M; ++m)
      for (int p = 0; p < Planes; ++p)
        for (int c = 0; c < chains; ++c) sums[m][p][c] = i32x16(0);
  }
  // Columns `first` .. of `Steps` steps of a unit of w, which begins at column `start` of x.
  template <int Steps, class W, class X>
  inline __attribute__((always_inline)) void add(const u8* unit, int first, const X& x, index m0,
                                                 index start) {
#pragma clang loop unroll(full)
    for (int s = 0; s < Steps; ++s) {
      const u32x16 four = W::levels(unit, first + s);
#pragma clang loop unroll(full)
      for (int m = 0; m < M; ++m)
#pragma clang loop unroll(full)
        for (int p = 0; p < Planes; ++p)
          sums[m][p][s % chains] = dot4<W::level_bits>(sums[m][p][s % chains], four,
                                                       x.four(p, m0 + m, start + (first + s) * 4));
    }
  }
  inline __attribute__((always_inline)) i32x16 plane(int m, int p) const {
    i32x16 total = sums[m][p][0];
    for (int c = 1; c < chains; ++c) total += sums[m][p][c];
    return total;
  }
};

// The same unit of the tile that comes next: tiles are pages apart, where hardware prefetchers
// stop.
template <class W>
SINTER_INLINE void prefetch_next_tile(const u8* unit) {
  for (int line = 0; line < W::unit_bytes; line += 64)
    __builtin_prefetch(unit + W::tile_bytes + line, 0, 2);
}

// Coded weights times quantized rows m0..m0+M-1: y[m] = the tile's 16 outputs, which are rows
// `row`.. of w.
template <int M, class W, int Planes>
SINTER_INLINE void multiply_tile(const W& w, index tile, index row,
                                 const QuantizedRows<W::cols, W::x_group, Planes>& x, index m0,
                                 f32x16* y) {
  const u8* unit = w.codes + tile * W::tile_bytes;
  for (int m = 0; m < M; ++m) y[m] = splat(0.0F);
  IntegerSums<M, Planes> sums;
  if constexpr (!W::has_scales) {
    // Of a whole row (most_row_cols in codegen/regions/products.h).
    static_assert(index{W::cols} * ((1 << W::level_bits) - 1) * 128 <= 0x7fffffff);
    sums.clear();
    for (int u = 0; u < W::cols / W::unit; ++u, unit += W::unit_bytes) {
      prefetch_next_tile<W>(unit);
      sums.template add<W::unit / 4, W>(unit, 0, x, m0, index{u} * W::unit);
    }
    for (int m = 0; m < M; ++m) {
      // Sums of whole rows: the planes may not fit one integer.
      f32x16 dot = __builtin_convertvector(sums.plane(m, 0), f32x16);
      if constexpr (Planes == 2)
        dot = fma(dot, splat(256.0F), __builtin_convertvector(sums.plane(m, 1), f32x16));
      y[m] = (dot - W::levels_type::zero * x.sums[m0 + m]) *
             (x.scales[m0 + m] * W::levels_type::factor);
    }
  } else {
    for (int u = 0; u < W::cols / W::unit; ++u, unit += W::unit_bytes) {
      prefetch_next_tile<W>(unit);
#pragma clang loop unroll(full)
      for (int i = 0; i < W::unit_groups; ++i) {
        const index g = index{u} * W::unit_groups + i;
        sums.clear();
        sums.template add<W::group / 4, W>(unit, i * (W::group / 4), x, m0, index{u} * W::unit);
        const f32x16 scale = w.scale(tile, g);
        f32x16 offset;
        if constexpr (W::has_offsets) offset = w.offset(tile, g, scale);
#pragma clang loop unroll(full)
        for (int m = 0; m < M; ++m) {
          i32x16 total = sums.plane(m, 0);
          if constexpr (Planes == 2) total = (total << 8) + sums.plane(m, 1);
          const index at = (m0 + m) * W::groups + g;
          f32x16 dot = __builtin_convertvector(total, f32x16);
          if constexpr (W::has_offsets) {
            dot = fma(dot, scale, offset * x.sums[at]);
            y[m] = fma(dot, splat(x.scales[at]), y[m]);
          } else {
            y[m] = fma(dot - W::levels_type::zero * x.sums[at], scale * x.scales[at], y[m]);
          }
        }
      }
    }
  }
  if constexpr (!__is_same(decltype(w.factor), NoFactor)) {
    const f32x16 factor = w.factor.of_rows(row);
    for (int m = 0; m < M; ++m) y[m] *= factor;
  }
}

// y[m] = columns begin..end of the tile times float rows. As many sums for a row as hide the
// latency of one row's, whatever M is: the order of sums must not depend on it.
template <int M, int Cols, class Element>
SINTER_INLINE void multiply_floats(const Element* values, const FloatRows<Cols>& x, index m0,
                                   int begin, int end, f32x16* y) {
  constexpr int chains = 4;
  f32x16 sums[M][chains];
  for (int m = 0; m < M; ++m)
    for (int c = 0; c < chains; ++c) sums[m][c] = splat(0.0F);
  int k = begin;
  for (; k + chains <= end; k += chains)
#pragma clang loop unroll(full)
    for (int c = 0; c < chains; ++c) {
      const f32x16 column = load(values + index{k + c} * tile_rows);
#pragma clang loop unroll(full)
      for (int m = 0; m < M; ++m)
        sums[m][c] = fma(column, splat(x.values[(m0 + m) * Cols + k + c]), sums[m][c]);
    }
  for (; k < end; ++k) {
    const f32x16 column = load(values + index{k} * tile_rows);
    for (int m = 0; m < M; ++m)
      sums[m][0] = fma(column, splat(x.values[(m0 + m) * Cols + k]), sums[m][0]);
  }
  for (int m = 0; m < M; ++m) {
    y[m] = sums[m][0];
    for (int c = 1; c < chains; ++c) y[m] += sums[m][c];
  }
}

// Rows of x that are multiplied together, at most.
template <class X>
constexpr int most_together = max_columns;
template <int Cols>
constexpr int most_together<FloatRows<Cols>> = max_columns / 2;

template <int M, int Cols, class Element>
SINTER_INLINE void multiply_tile(const DenseWeights<Cols, Element>& w, index tile, index,
                                 const FloatRows<Cols>& x, index m0, f32x16* y) {
  multiply_floats<M>(w.values + tile * Cols * tile_rows, x, m0, 0, Cols, y);
}

template <int M, int Cols, int Group, class Scales, class Factor>
SINTER_INLINE void multiply_tile(const Fp8Weights<Cols, Group, Scales, Factor>& w, index tile,
                                 index row, const FloatRows<Cols>& x, index m0, f32x16* y) {
  const e4m3* values = w.values + tile * Cols * tile_rows;
  for (int m = 0; m < M; ++m) y[m] = splat(0.0F);
  for (int g = 0; g < Cols / Group; ++g) {
    f32x16 sums[M];
    multiply_floats<M>(values, x, m0, g * Group, (g + 1) * Group, sums);
    f32x16 scale = splat(1.0F);
    if constexpr (!__is_same(Scales, NoScales)) scale = w.scales.template at<Cols, Group>(tile, g);
    for (int m = 0; m < M; ++m) y[m] = fma(sums[m], scale, y[m]);
  }
  if constexpr (!__is_same(Factor, NoFactor)) {
    const f32x16 factor = w.factor.of_rows(row);
    for (int m = 0; m < M; ++m) y[m] *= factor;
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
      multiply_tile<M>(w, part * part_tiles + tile, part * Rows + tile * tile_rows, x, m0, y[part]);
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
      tile_rows_from<most_together<X>, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
      if constexpr (most_together<X> > 4)
        tile_rows_from<4, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
      if constexpr (most_together<X> > 2)
        tile_rows_from<2, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
    }
    tile_rows_from<1, Parts, Rows>(w, tile, x, m, x.rows, epilogue);
  }
}

// One row of x, prepared in the worker's scratch memory.
template <class X, class Prologue>
SINTER_INLINE X prepare_row(const Launch* launch, const Prologue& prologue) {
  const X x = X::at(launch->scratch, 1);
  x.write(0, prologue);
  return x;
}

// One row of x: every worker computes the prologue for itself, which costs less than meeting at a
// barrier.
template <class X, int Parts, int Rows, class W, class Prologue, class Epilogue>
SINTER_INLINE void matmul_one_row(const Launch* launch, const W& w, const Prologue& prologue,
                                  const Epilogue& epilogue) {
  constexpr index part_tiles = (Rows + tile_rows - 1) / tile_rows;
  const Range tiles = share(part_tiles, launch->worker, launch->workers);
  const X x = prepare_row<X>(launch, prologue);
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
