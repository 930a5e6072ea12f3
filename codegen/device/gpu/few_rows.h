// y = x w^T for a few rows of x, each to the bits that matmul_one_row gives it alone: the same
// tiles and columns to a wave, the same order of sums. Codes go through matrix units, which sum
// integers and so the order of columns within a group does not matter; weights are unpacked once
// for all rows. Prologues are a phase of their own.
#pragma once

#include "gpu/matmul.h"

namespace sinter {

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
  const float* values;
  __device__ GlobalRow(const FloatRows<Cols>& x, index row) : values(x.values + row * Cols) {}
  // Columns k..k+3, zeros behind the last.
  __device__ __attribute__((always_inline)) f32x4 four(int k) const {
    if constexpr (Cols % 4 == 0) {
      if (k < Cols) return *reinterpret_cast<const f32x4*>(values + k);
      return f32x4{0, 0, 0, 0};
    } else {
      f32x4 out = {0, 0, 0, 0};
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i)
        if (k + i < Cols) out[i] = values[k + i];
      return out;
    }
  }
};

// How tiles are dealt out to waves: as in matmul_one_row.
template <class X, int Rows>
struct TileShare {
  static constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  static constexpr int sharing = share_tile(tiles, OneRow<X>::steps);
  static constexpr int at_once = waves / sharing;  // tiles of a block
  static constexpr int steps = (OneRow<X>::steps + sharing - 1) / sharing;
};

// Sums of the waves that share a tile, `Count` to each of `Lanes` lanes, added up in the order of
// the waves, in shared memory. Afterwards finish(i) is called for i below Stride, each by one of
// the waves, which finds the totals of sums i, i + Stride, .. in y.
template <int Sharing, int Stride, int Lanes, int Count, class Finish>
SINTER_INLINE void add_up_waves(float (&y)[Count], const Finish& finish) {
  if constexpr (Sharing == 1) {
#pragma clang loop unroll(full)
    for (int i = 0; i < Stride; ++i) finish(i);
  } else {
    float* const here = reinterpret_cast<float*>(shared_memory());
    barrier();  // what a tile before left was read
    if (lane() < Lanes)
#pragma clang loop unroll(full)
      for (int i = 0; i < Count; ++i) here[(wave() * Count + i) * Lanes + lane()] = y[i];
    barrier();
    const int first = wave() / Sharing * Sharing;
#pragma clang loop unroll(full)
    for (int i = 0; i < Stride; ++i) {
      if (i % Sharing != wave() % Sharing) continue;
#pragma clang loop unroll(full)
      for (int part = i; part < Count; part += Stride) {
        float sum = 0;
#pragma clang loop unroll(full)
        for (int w = 0; w < Sharing; ++w)
          sum += here[((first + w) * Count + part) * Lanes + lane() % Lanes];
        y[part] = sum;
      }
      finish(i);
    }
  }
}

// Weights and their scales for one block of columns.
template <class W>
struct FewPiece {
  static constexpr bool with_scales = W::block_groups * (W::has_offsets ? 2 : 1) <= 4;
  static constexpr int kept = with_scales ? W::block_groups : 1;
  LeftCodes<W, 2> left;
  float scale[kept][Matrix::sums];
  float offset[kept][Matrix::sums];
  static constexpr int registers = static_cast<int>(sizeof(LeftCodes<W, 2>)) / 4 + 2 * kept;

  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block) {
    left.read(w, tile, block);
    if constexpr (with_scales)
#pragma clang loop unroll(full)
      for (int g = 0; g < W::block_groups; ++g) read_scales(w, tile, block, g, g);
  }
  __device__ __attribute__((always_inline)) void read_scales(const W& w, index tile, int block,
                                                             int g, int to) {
#pragma clang loop unroll(full)
    for (int e = 0; e < Matrix::sums; ++e)
      w.one_scale(tile, block, Matrix::sum_row(e), g, scale[to][e], offset[to][e]);
  }
};

// `Tokens`: rows of x at most; those that are not there are computed as the last one and not
// stored. See matmul_one_row for the parts and the epilogue.
template <int Tokens, int Parts, int Rows, class W, int Cols, int Group, int Planes, class Epilogue>
SINTER_INLINE void multiply_few(const Launch* launch, const W& w,
                                const QuantizedRows<Cols, Group, Planes>& x,
                                const Epilogue& epilogue) {
  using X = QuantizedRows<Cols, Group, Planes>;
  using Form = OneRow<X>;
  using Share = TileShare<X, Rows>;
  constexpr index tiles = Share::tiles;
  constexpr int together = Form::together;
  constexpr int columns = (Tokens + 15) / 16;  // of matrix tiles
  constexpr int used = Tokens <= Matrix::least_tokens ? Matrix::sums_of_least : Matrix::sums;
  constexpr int held_tokens = used == Matrix::sums ? Matrix::tokens : 1;
  constexpr int count = columns * used;
  constexpr int group_segments = W::group < segment_cols ? 1 : W::group / segment_cols;
  constexpr int segment_groups = W::group < segment_cols ? segment_cols / W::group : 1;
  constexpr int most_segments = group_segments < block_segments ? group_segments : block_segments;
  // Pieces that are under way before the first is used: fewer where sums take the registers.
  constexpr int registers = Tokens <= 8 ? 40 : 20;
  constexpr int most_ahead =
      FewPiece<W>::registers * Parts > registers ? 1 : registers / (FewPiece<W>::registers * Parts);
  constexpr int pieces_of_tile = Share::steps * together;
  constexpr int ahead = most_ahead < pieces_of_tile ? most_ahead : pieces_of_tile;

  if (index{launch->worker} * Share::at_once >= tiles) return;
  const int part_of_tile = wave() % Share::sharing;
  index tile = index{launch->worker} * Share::at_once + wave() / Share::sharing;
  // Piece number `i` of this wave's share: steps are blocks `together` at a time.
  const auto block_of = [&](int i) {
    return (i / together * Share::sharing + part_of_tile) * together + i % together;
  };
  FewPiece<W> pieces[ahead][Parts];
  const auto read = [&](index of, int i, FewPiece<W>(&into)[Parts]) __attribute__((always_inline)) {
    const int block = block_of(i);
    if (of >= tiles || block >= W::blocks) return;
#pragma clang loop unroll(full)
    for (int part = 0; part < Parts; ++part) into[part].read(w, part * tiles + of, block);
  };
#pragma clang loop unroll(full)
  for (int i = 0; i < ahead; ++i) read(tile, i, pieces[i]);
  await_phases();
  const index rows = x.rows < Tokens ? x.rows : Tokens;
  const auto token_row = [&](int token) { return token < rows ? index{token} : rows - 1; };

  for (index base = index{launch->worker} * Share::at_once; base < tiles;
       base += index{launch->workers} * Share::at_once) {
    const index next = tile + index{launch->workers} * Share::at_once;
    float y[together][Parts * count] = {};
    const auto multiply_block = [&](int block, FewPiece<W>(&piece)[Parts],
                                    float (&to)[Parts * count]) __attribute__((always_inline)) {
      float sum_of_block[Parts * count] = {};
#pragma clang loop unroll(full)
      for (int segment = 0; segment < block_segments; segment += group_segments) {
        if (segment >= W::segments(block)) continue;
#pragma clang loop unroll(disable)
        for (int half = 0; half < segment_groups; ++half) {
          const int g = segment * segment_cols / W::group + half;
          int sums[Parts][columns][Planes][Matrix::sums];
#pragma clang loop unroll(full)
          for (int part = 0; part < Parts; ++part)
#pragma clang loop unroll(full)
            for (int c = 0; c < columns; ++c)
#pragma clang loop unroll(full)
              for (int p = 0; p < Planes; ++p)
#pragma clang loop unroll(full)
                for (int e = 0; e < Matrix::sums; ++e) sums[part][c][p][e] = Matrix::start;
#pragma clang loop unroll(full)
          for (int i = 0; i < most_segments; ++i) {
            if (segment + i >= W::segments(block)) continue;
            Matrix::Left left[Parts];
#pragma clang loop unroll(full)
            for (int part = 0; part < Parts; ++part) {
              left[part] = piece[part].left.segment(segment + i);
              if constexpr (segment_groups > 1) left[part] = half_of(left[part], half);
            }
#pragma clang loop unroll(full)
            for (int c = 0; c < columns; ++c)
#pragma clang loop unroll(full)
              for (int p = 0; p < Planes; ++p) {
                Matrix::Right right;
#pragma clang loop unroll(full)
                for (int t = 0; t < held_tokens; ++t)
#pragma clang loop unroll(full)
                  for (int k = 0; k < Matrix::pieces; ++k) {
                    const auto eight = *reinterpret_cast<const u32x2*>(
                        x.codes +
                        (p * x.rows + token_row(c * 16 + Matrix::token(t))) * X::row_codes +
                        block * block_cols + (segment + i) * segment_cols + Matrix::piece(k) * 8);
                    right.words[t][k][0] = eight[0];
                    right.words[t][k][1] = eight[1];
                  }
#pragma clang loop unroll(full)
                for (int part = 0; part < Parts; ++part)
                  Matrix::template multiply<used>(sums[part][c][p], left[part], right);
              }
          }
#pragma clang loop unroll(full)
          for (int part = 0; part < Parts; ++part) {
            FewPiece<W>& its = piece[part];
            if constexpr (!FewPiece<W>::with_scales)
              its.read_scales(w, part * tiles + tile, block, g, 0);
            const int at = FewPiece<W>::with_scales ? g : 0;
#pragma clang loop unroll(full)
            for (int c = 0; c < columns; ++c)
#pragma clang loop unroll(full)
              for (int e = 0; e < used; ++e) {
                float total = Matrix::number(sums[part][c][0][e]);
                if constexpr (Planes == 2)
                  total = fma(total, 256.0F, Matrix::number(sums[part][c][1][e]));
                float& of_block = sum_of_block[part * count + c * used + e];
                if constexpr (!W::has_scales) {
                  of_block += total;
                } else {
                  const GroupScale a =
                      x.scales[token_row(c * 16 + Matrix::sum_token(e)) * X::groups +
                               block * W::block_groups + g];
                  of_block = W::add_group(of_block, total, a.scale, a.bias, its.scale[at][e],
                                          its.offset[at][e]);
                }
              }
          }
        }
      }
#pragma clang loop unroll(full)
      for (int i = 0; i < Parts * count; ++i) to[i] += sum_of_block[i];
    };
    if (tile < tiles) {
#pragma clang loop unroll(disable)
      for (int i = 0; i < pieces_of_tile; i += ahead)
#pragma clang loop unroll(full)
        for (int j = 0; j < ahead; ++j) {
          if (pieces_of_tile % ahead != 0 && i + j >= pieces_of_tile) break;
          const int block = block_of(i + j);
          if (block < W::blocks) {
            if constexpr (ahead % together == 0 || together == 1) {
              multiply_block(block, pieces[j], y[j % together]);
            } else {
#pragma clang loop unroll(full)
              for (int k = 0; k < together; ++k)
                if ((i + j) % together == k) multiply_block(block, pieces[j], y[k]);
            }
          }
          if (i + j + ahead < pieces_of_tile) read(tile, i + j + ahead, pieces[j]);
        }
    }
    if (base + index{launch->workers} * Share::at_once < tiles)
#pragma clang loop unroll(full)
      for (int i = 0; i < ahead; ++i) read(next, i, pieces[i]);
    // Neighbours first, as lanes do.
#pragma clang loop unroll(full)
    for (int step = 1; step < together; step *= 2)
#pragma clang loop unroll(full)
      for (int k = 0; k + step < together; k += 2 * step)
#pragma clang loop unroll(full)
        for (int i = 0; i < Parts * count; ++i) y[k][i] += y[k + step][i];
    add_up_waves<Share::sharing, count, wave_size>(y[0], [&](int i) __attribute__((always_inline)) {
      const int token = i / used * 16 + Matrix::sum_token(i % used);
      const index col = tile * tile_rows + Matrix::sum_row(i % used);
      if (tile >= tiles || token >= rows || col >= Rows) return;
      const GlobalRow<X> row{x, token};
      float done[Parts];
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part)
        done[part] = Form::finish(w, part * index{Rows} + col, y[0][part * count + i], row);
      if constexpr (Parts == 1) epilogue(token, col, Rows - col, done[0]);
      if constexpr (Parts == 2) epilogue(token, col, Rows - col, done[0], done[1]);
    });
    tile = next;
  }
}

// Dense weights: a lane has one row of the tile for all rows of x.
template <int Tokens, int Parts, int Rows, class W, int Cols, class Epilogue>
SINTER_INLINE void multiply_few(const Launch* launch, const W& w, const FloatRows<Cols>& x,
                                const Epilogue& epilogue) {
  using X = FloatRows<Cols>;
  using Form = OneRow<X>;
  using Share = TileShare<X, Rows>;
  constexpr index tiles = Share::tiles;
  if (index{launch->worker} * Share::at_once >= tiles) return;
  const int part_of_tile = wave() % Share::sharing;
  await_phases();
  const int rows = x.rows < Tokens ? static_cast<int>(x.rows) : Tokens;
  for (index base = index{launch->worker} * Share::at_once; base < tiles;
       base += index{launch->workers} * Share::at_once) {
    const index tile = base + wave() / Share::sharing;
    float y[Parts * Tokens] = {};
    if (tile < tiles)
#pragma clang loop unroll(disable)
      for (int step = 0; step < Share::steps; ++step)
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part) {
          typename Form::template Piece<W> piece;
          piece.read(w, part * tiles + tile, step * Share::sharing + part_of_tile);
#pragma clang loop unroll(full)
          for (int r = 0; r < Tokens; ++r)
            if (r < rows)
              y[part * Tokens + r] += piece.multiply(
                  w, part * tiles + tile, step * Share::sharing + part_of_tile, GlobalRow<X>(x, r));
        }
#pragma clang loop unroll(full)
    for (int i = 0; i < Parts * Tokens; ++i)
#pragma clang loop unroll(full)
      for (int mask = tile_rows; mask < wave_size; mask *= 2) y[i] += shuffle_xor(y[i], mask);
    add_up_waves<Share::sharing, Tokens, tile_rows>(y, [&](int r) __attribute__((always_inline)) {
      const index col = tile * tile_rows + lane();
      if (tile >= tiles || r >= rows || lane() >= tile_rows || col >= Rows) return;
      float done[Parts];
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part)
        done[part] =
            Form::finish(w, part * index{Rows} + col, y[part * Tokens + r], GlobalRow<X>(x, r));
      if constexpr (Parts == 1) epilogue(r, col, Rows - col, done[0]);
      if constexpr (Parts == 2) epilogue(r, col, Rows - col, done[0], done[1]);
    });
  }
}

// Bytes of shared memory of multiply_few.
template <class X, int Tokens, int Parts>
constexpr int few_shared_bytes = 0;
template <int Cols, int Group, int Planes, int Tokens, int Parts>
constexpr int few_shared_bytes<QuantizedRows<Cols, Group, Planes>, Tokens, Parts> =
    4 * waves * wave_size * ((Tokens + 15) / 16) *
    (Tokens <= Matrix::least_tokens ? Matrix::sums_of_least : Matrix::sums) * Parts;
template <int Cols, int Tokens, int Parts>
constexpr int few_shared_bytes<FloatRows<Cols>, Tokens, Parts> =
    4 * waves * tile_rows * Tokens * Parts;

}  // namespace sinter
