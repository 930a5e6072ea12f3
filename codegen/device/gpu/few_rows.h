// y = x w^T for a few rows of x, each to the bits that matmul_one_row gives it alone: the same
// tiles and columns to a wave, the same order of sums. Codes go through matrix units, which sum
// integers and so the order of columns within a group does not matter; weights are unpacked once
// for all rows. Prologues are a phase of their own.
#pragma once

#include "gpu/matmul.h"

namespace sinter {

// A row of the input where the phase before left it, in the words of SharedRow and SharedFloats.
template <class X>
struct GlobalRow {
  static constexpr int planes = X::planes;
  const X& x;
  index row;
  __device__ GlobalRow(const X& rows, index r) : x(rows), row(r) {}
  // Columns first .. first + 15 of a block.
  __device__ __attribute__((always_inline)) u32x4 codes(int plane, int block, int first) const {
    return *reinterpret_cast<const u32x4*>(x.row_of(plane, row) +
                                           X::column(block * block_cols + first));
  }
  __device__ __attribute__((always_inline)) GroupScale scale(int group) const {
    return x.scale(row, group);
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

// This lane's codes of one block, where it has one piece of 8 columns of a segment: instead of a
// piece of each segment of a group it takes as many neighbouring columns, which lie in few words.
// How columns of a group are dealt out does not matter to its sum.
template <class W>
struct NeighbourCodes {
  static constexpr int group_segments = W::group < segment_cols ? 1
                                        : W::group < block_cols ? W::group / segment_cols
                                                                : block_segments;
  static constexpr int steps = 2 * group_segments;  // fours of columns
  // Words of a field for a group, and the first of them in its segment.
  static constexpr int count(int width) { return steps * width > 8 ? steps * width / 8 : 1; }
  static constexpr int count_all(int fields) {
    int all = 0;
    for (int width = 8; width > 0; width /= 2) all += has_field(fields, width) ? count(width) : 0;
    return all;
  }
  static __device__ int first_step() { return Matrix::piece(0) * steps; }
  // The lane's column of a block for piece `k` of segment s.
  static __device__ int column(int s, int) {
    return s / group_segments * group_segments * segment_cols + first_step() * 4 +
           s % group_segments * 8;
  }
  static constexpr int at_once = group_segments > 1 ? 2 : 1;  // neighbouring pieces

  u32 bits[block_segments / group_segments][Matrix::rows][count_all(W::bits)];

  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block) {
    const u8* from = w.codes + tile * W::tile_bytes + index{block} * W::block_bytes;
    const bool whole = W::is_whole(block);
    each_field<W::bits>([&](auto field) __attribute__((always_inline)) {
      constexpr int width = field.width, before = count_all(field.below), words = count(width);
      const u8* const first =
          from + tile_rows * 4 * field.below * (whole ? block_segments : W::last_segments);
#pragma clang loop unroll(full)
      for (int g = 0; g < block_segments / group_segments; ++g) {
        const int segment = g * group_segments + first_step() / 8;
        const int word = segment * width + first_step() % 8 * width / 8;
#pragma clang loop unroll(full)
        for (int r = 0; r < Matrix::rows; ++r) {
          u32* const to = bits[g][r] + before;
          if (whole) {
            load_words<words>(first + (word / 4 * tile_rows + Matrix::row(r)) * 16 + word % 4 * 4,
                              to);
          } else {
#pragma clang loop unroll(full)
            for (int i = 0; i < words; ++i)
              to[i] = segment < W::last_segments
                          ? load_stream<u32>(first + ((word + i) * tile_rows + Matrix::row(r)) * 4)
                          : 0U;
          }
        }
      }
    });
  }

  __device__ __attribute__((always_inline)) Matrix::Left segment(int s) const {
    Matrix::Left left;
#pragma clang loop unroll(full)
    for (int r = 0; r < Matrix::rows; ++r)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; ++half) {
        const int step = s % group_segments * 2 + half;
        u32 codes = 0;
        each_field<W::bits>([&](auto field) __attribute__((always_inline)) {
          constexpr int width = field.width, words = count(width);
          const u32 word = bits[s / group_segments][r]
                               [count_all(field.below) + (words == 1 ? 0 : step * width / 8)];
          const int shift = (steps * width < 8 ? first_step() + step : step) * width % 8;
          if (width == 8) {
            codes = word;
          } else {
            codes |= ((word >> shift) & (0x01010101U * ((1U << width) - 1U))) << field.below;
          }
        });
        left.words[r][0][half] = W::levels_type::levels(codes);
      }
    return left;
  }

 private:
  // Of a row, 16 bytes after 16 rows of them.
  template <int Count>
  static __device__ __attribute__((always_inline)) void load_words(const u8* from, u32* to) {
    if constexpr (Count == 1) {
      to[0] = load_stream<u32>(from);
    } else if constexpr (Count == 2) {
      const auto two = load_stream<u32x2>(from);
      to[0] = two[0];
      to[1] = two[1];
    } else {
#pragma clang loop unroll(full)
      for (int i = 0; i < Count; i += 4) {
        const auto four = load_stream<u32x4>(from + i / 4 * tile_rows * 16);
#pragma clang loop unroll(full)
        for (int k = 0; k < 4; ++k) to[i + k] = four[k];
      }
    }
  }
};

// A piece of every segment.
template <class W>
struct SegmentCodes : LeftCodes<W, 2> {
  static __device__ int column(int s, int k) { return s * segment_cols + Matrix::piece(k) * 8; }
  static constexpr int at_once = 1;
};

template <class W>
constexpr bool takes_neighbours =
    Matrix::pieces == 1 && !__is_same(typename W::codes_type, TritCodes);
template <class W, bool Neighbours = takes_neighbours<W>>
struct FewCodes : NeighbourCodes<W> {};
template <class W>
struct FewCodes<W, false> : SegmentCodes<W> {};

// Weights and their scales for one block of columns.
template <class W>
struct FewPiece {
  static constexpr int numbers = Matrix::rows_of_sums * (W::has_offsets ? 2 : 1);
  static constexpr bool with_scales = W::block_groups * numbers <= 8;
  static constexpr int kept = with_scales ? W::block_groups : 1;
  FewCodes<W> left;
  typename W::template HeldScales<1> held[kept][Matrix::sums];
  static constexpr int registers = static_cast<int>(sizeof(FewCodes<W>)) / 4 + kept * numbers;

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
      w.hold_one(tile, block, Matrix::sum_row(e), g, held[to][e]);
  }
};

// How up to `Tokens` rows of x are multiplied by a tile: all in one pass, or in passes of 16 or of
// the least that matrix units take, where more would need more registers than a lane has. Weights
// are then unpacked again, out of the nearest cache.
template <int Tokens, int Parts, int Planes, class W>
struct FewForm {
  static constexpr int used_by(int tokens) {
    return tokens <= Matrix::least_tokens ? Matrix::sums_of_least : Matrix::sums;
  }
  static constexpr int columns_of(int tokens) { return (tokens + 15) / 16; }
  static constexpr int held_by(int tokens) {
    return Matrix::tokens * used_by(tokens) / Matrix::sums;
  }
  // Integers of a group, then floats of a block and of the tile, whose blocks several waves of a
  // row's own product would have.
  static constexpr int registers_of(int tokens) {
    const int sums = columns_of(tokens) *
                     (Planes * Matrix::sums + (1 + wave_size / tile_rows) * used_by(tokens));
    const int operands = Parts * Matrix::rows + 2 * held_by(tokens);  // the next are under way
    return Parts * (sums + FewPiece<W>::registers) + operands * Matrix::pieces * 2;
  }
  static constexpr int tokens_of_pass() {
    if (registers_of(Tokens) <= 96) return Tokens;
    return Tokens > Matrix::least_tokens && registers_of(16) <= 208 ? 16 : Matrix::least_tokens;
  }
  static constexpr int tokens = tokens_of_pass();
  static constexpr int columns = columns_of(tokens), used = used_by(tokens);
  static constexpr int held_tokens = held_by(tokens);
  static constexpr int registers = registers_of(tokens);
  static constexpr int passes = (Tokens + tokens - 1) / tokens;
  static constexpr int count = columns * used;  // sums of a lane
};

// `Tokens`: rows of x at most; those that are not there are computed as the last one and not
// stored. See matmul_one_row for the parts and the epilogue.
template <int Tokens, int Parts, int Rows, class W, int Cols, int Group, int Planes, int Together,
          class Epilogue>
SINTER_INLINE void multiply_few_by_tiles(const Launch* launch, const W& w,
                                         const QuantizedRows<Cols, Group, Planes, Together>& x,
                                         Handed* handed, const Epilogue& epilogue) {
  using X = QuantizedRows<Cols, Group, Planes, Together>;
  using Alone = OneRow<QuantizedRows<Cols, Group, Planes>>;
  using Share = TileShare<Alone, Rows, W>;
  using Form = FewForm<Tokens, Parts, Planes, W>;
  constexpr index tiles = Share::tiles;
  constexpr int together = Alone::together;
  constexpr int columns = Form::columns, used = Form::used, count = Form::count;
  constexpr int at_once = FewCodes<W>::at_once;
  constexpr int group_segments = W::group < segment_cols ? 1 : W::group / segment_cols;
  constexpr int segment_groups = W::group < segment_cols ? segment_cols / W::group : 1;
  constexpr int most_segments = group_segments < block_segments ? group_segments : block_segments;
  // Pieces that are under way before the first is used: fewer where sums take the registers.
  constexpr int registers = columns > 1 ? 8 : 16;
  constexpr int most_ahead =
      FewPiece<W>::registers * Parts > registers ? 1 : registers / (FewPiece<W>::registers * Parts);
  constexpr int pieces_of_tile = Share::steps * together;
  // Without a branch for the last, loads of several pieces are under way together, where there are
  // registers for them.
  constexpr bool all_exist =
      pieces_of_tile * Share::sharing * Share::splits == W::blocks && Form::registers <= 112;
  constexpr int ahead = most_ahead < pieces_of_tile ? most_ahead : pieces_of_tile;

  if (index{launch->worker} * Share::at_once >= Share::units) return;
  const SplitSums<Share, Rows> sums_of_splits{handed};
  index unit = index{launch->worker} * Share::at_once + wave() / Share::sharing;
  // Piece number `i` of this wave's share: steps are blocks `together` at a time.
  const auto block_of = [&](index of, int i) {
    return Share::step(of, i / together) * together + i % together;
  };
  FewPiece<W> pieces[ahead][Parts];
  const auto read = [&](index of, int i, FewPiece<W>(&into)[Parts]) __attribute__((always_inline)) {
    const int block = block_of(of, i);
    if (of >= Share::units || (!all_exist && block >= W::blocks)) return;
#pragma clang loop unroll(full)
    for (int part = 0; part < Parts; ++part)
      into[part].read(w, part * tiles + Share::tile(of), block);
  };
#pragma clang loop unroll(full)
  for (int i = 0; i < ahead; ++i) read(unit, i, pieces[i]);
  await_phases();
  const index rows = x.rows < Tokens ? x.rows : Tokens;
  const int passes =
      Form::passes == 1 ? 1 : static_cast<int>((rows + Form::tokens - 1) / Form::tokens);
  const auto existing = [&](int token) { return token < rows ? index{token} : rows - 1; };

  index base = index{launch->worker} * Share::at_once;
  for (int pass = 0; base < Share::units;) {
    const index tile = Share::tile(unit);
    const int first = pass * Form::tokens;  // row of x
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
          for (int i = 0; i < most_segments; i += at_once) {
            if (segment + i >= W::segments(block)) continue;
            Matrix::Left left[at_once][Parts];
#pragma clang loop unroll(full)
            for (int n = 0; n < at_once; ++n)
#pragma clang loop unroll(full)
              for (int part = 0; part < Parts; ++part) {
                left[n][part] = piece[part].left.segment(segment + i + n);
                if constexpr (segment_groups > 1) left[n][part] = half_of(left[n][part], half);
              }
#pragma clang loop unroll(full)
            for (int c = 0; c < columns; ++c)
#pragma clang loop unroll(full)
              for (int p = 0; p < Planes; ++p) {
                Matrix::Right right[at_once];
#pragma clang loop unroll(full)
                for (int t = 0; t < Form::held_tokens; ++t)
#pragma clang loop unroll(full)
                  for (int k = 0; k < Matrix::pieces; ++k) {
                    const i8* const from =
                        x.row_of(p, existing(first + c * 16 + Matrix::token(t))) +
                        X::column(block * block_cols + FewCodes<W>::column(segment + i, k));
                    if constexpr (at_once == 2) {
                      const auto sixteen = *reinterpret_cast<const u32x4*>(from);
#pragma clang loop unroll(full)
                      for (int n = 0; n < 4; ++n) right[n / 2].words[t][k][n % 2] = sixteen[n];
                    } else {
                      const auto eight = *reinterpret_cast<const u32x2*>(from);
                      right[0].words[t][k][0] = eight[0];
                      right[0].words[t][k][1] = eight[1];
                    }
                  }
#pragma clang loop unroll(full)
                for (int n = 0; n < at_once; ++n)
#pragma clang loop unroll(full)
                  for (int part = 0; part < Parts; ++part)
                    Matrix::template multiply<used>(sums[part][c][p], left[n][part], right[n]);
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
                  const GroupScale a = x.scale(existing(first + c * 16 + Matrix::sum_token(e)),
                                               block * W::block_groups + g);
                  float scale, offset;
                  its.held[at][e].get(0, scale, offset);
                  of_block = W::add_group(of_block, total, a.scale, a.bias, scale, offset);
                }
              }
          }
        }
      }
#pragma clang loop unroll(full)
      for (int i = 0; i < Parts * count; ++i) to[i] += sum_of_block[i];
      settle(to);
    };
    if (unit < Share::units) {
#pragma clang loop unroll(disable)
      for (int i = 0; i < pieces_of_tile; i += ahead)
#pragma clang loop unroll(full)
        for (int j = 0; j < ahead; ++j) {
          if (pieces_of_tile % ahead != 0 && i + j >= pieces_of_tile) break;
          const int block = block_of(unit, i + j);
          if (all_exist || block < W::blocks) {
            if constexpr (ahead % together == 0 || together == 1) {
              multiply_block(block, pieces[j], y[j % together]);
            } else {
#pragma clang loop unroll(full)
              for (int k = 0; k < together; ++k)
                if ((i + j) % together == k) multiply_block(block, pieces[j], y[k]);
            }
          }
          if (i + j + ahead < pieces_of_tile) read(unit, i + j + ahead, pieces[j]);
        }
    }
    index next = unit;
    if (Form::passes == 1 || ++pass == passes) {
      pass = 0;
      base += index{launch->workers} * Share::at_once;
      next += index{launch->workers} * Share::at_once;
    }
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
      const int token = first + i / used * 16 + Matrix::sum_token(i % used);
      const index col = tile * tile_rows + Matrix::sum_row(i % used);
      if (unit >= Share::units || token >= rows || col >= Rows) return;
      const GlobalRow<X> row{x, token};
      float done[Parts];
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part) done[part] = y[0][part * count + i];
      if (!sums_of_splits.add_up(unit, token, col, done)) return;
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part)
        done[part] = Alone::finish(w, part * index{Rows} + col, done[part], row);
      if constexpr (Parts == 1) epilogue(token, col, Rows - col, done[0]);
      if constexpr (Parts == 2) epilogue(token, col, Rows - col, done[0], done[1]);
    });
    unit = next;
  }
}

// Without matrix units: a lane has one row of the tile for `AtOnce` rows of x.
template <int AtOnce, int Parts, int Rows, class Form, class W, class X, class Epilogue>
SINTER_INLINE void multiply_few_by_lanes(const Launch* launch, const W& w, const X& x,
                                         Handed* handed, const Epilogue& epilogue) {
  using Share = TileShare<Form, Rows, W>;
  constexpr index tiles = Share::tiles;
  constexpr int sharing = Share::sharing;
  const SplitSums<Share, Rows> sums{handed};
  await_phases();
  for (index base = index{launch->worker} * Share::at_once; base < Share::units;
       base += index{launch->workers} * Share::at_once) {
    const index unit = base + wave() / sharing;
    const index tile = Share::tile(unit);
    for (index first = 0; first < x.rows; first += AtOnce) {
      float y[Parts * AtOnce] = {};
      if (unit < Share::units)
#pragma clang loop unroll(disable)
        for (int step = 0; step < Share::steps; ++step)
#pragma clang loop unroll(full)
          for (int part = 0; part < Parts; ++part) {
            const int at = Share::step(unit, step);
            typename Form::template Piece<W> piece;
            piece.read(w, part * tiles + tile, at);
            // Else the address of every load, the same for all lanes, is kept in a register.
            int row[1] = {static_cast<int>(first)};
            if constexpr (!has_dot4) settle(row);
#pragma clang loop unroll(full)
            for (int r = 0; r < AtOnce; ++r)
              if (first + r < x.rows)
                y[part * AtOnce + r] +=
                    piece.multiply(w, part * tiles + tile, at, GlobalRow<X>(x, row[0] + r));
          }
#pragma clang loop unroll(full)
      for (int i = 0; i < Parts * AtOnce; ++i) y[i] = Form::gather(y[i]);
      add_up_waves<sharing, AtOnce, tile_rows>(y, [&](int r) __attribute__((always_inline)) {
        const index col = tile * tile_rows + lane();
        if (unit >= Share::units || first + r >= x.rows || lane() >= tile_rows || col >= Rows)
          return;
        float done[Parts];
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part) done[part] = y[part * AtOnce + r];
        if (!sums.add_up(unit, first + r, col, done)) return;
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part)
          done[part] =
              Form::finish(w, part * index{Rows} + col, done[part], GlobalRow<X>(x, first + r));
        if constexpr (Parts == 1) epilogue(first + r, col, Rows - col, done[0]);
        if constexpr (Parts == 2) epilogue(first + r, col, Rows - col, done[0], done[1]);
      });
    }
  }
}

template <int Tokens, int Parts, int Rows, class W, int Cols, int Group, int Planes, int Together,
          class Epilogue>
SINTER_INLINE void multiply_few(const Launch* launch, const W& w,
                                const QuantizedRows<Cols, Group, Planes, Together>& x,
                                Handed* handed, const Epilogue& epilogue) {
  if constexpr (has_dot4) {
    multiply_few_by_tiles<Tokens, Parts, Rows>(launch, w, x, handed, epilogue);
  } else {
    // Multiplying bytes one by one takes longer than reading weights again, and a tile's bytes,
    // taken apart, would need more registers than there are.
    multiply_few_by_lanes<2 / Parts, Parts, Rows, OneRow<QuantizedRows<Cols, Group, Planes>>>(
        launch, w, x, handed, epilogue);
  }
}
template <int Tokens, int Parts, int Rows, class W, int Cols, class Epilogue>
SINTER_INLINE void multiply_few(const Launch* launch, const W& w, const FloatRows<Cols>& x,
                                Handed* handed, const Epilogue& epilogue) {
  multiply_few_by_lanes<Tokens, Parts, Rows, OneRow<FloatRows<Cols>>>(launch, w, x, handed,
                                                                      epilogue);
}

// Bytes of shared memory of multiply_few.
template <class X, class W, int Tokens, int Parts>
constexpr int few_shared_bytes =
    4 * waves * wave_size * Parts * FewForm<Tokens, Parts, X::planes, W>::count;
template <int Cols, class W, int Tokens, int Parts>
constexpr int few_shared_bytes<FloatRows<Cols>, W, Tokens, Parts> =
    4 * waves * tile_rows * Tokens * Parts;

}  // namespace sinter
