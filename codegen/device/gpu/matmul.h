// y = x w^T for many rows of x, by matrix units. A block takes 64 rows of x (tokens) and a tile of
// 16 weight rows per wave. Each wave unpacks its own weights straight into registers, in the order
// its matrix unit wants; tokens go through shared memory, block after block of 128 columns,
// double-buffered.
#pragma once

#include "gpu/matrix.h"
#include "gpu/matvec.h"

namespace sinter {

constexpr int tile_tokens = sizes::tile_tokens;

// Tokens of one block of columns in shared memory.
template <class X, int Tokens>
struct TokenTile {
  static constexpr int block_groups = X::block_groups;
  // Eight lanes' 8-byte reads at this distance use different banks.
  static constexpr int stride = sizes::tile_stride;
  static constexpr int code_bytes = X::planes * Tokens * stride;
  static constexpr int bytes = code_bytes + Tokens * block_groups * sizes::group_scale_bytes;
  u8* base;

  // This lane's part of 16 tokens from `first`, over segment s.
  __device__ __attribute__((always_inline)) Matrix::Right right(int plane, int first, int s) const {
    Matrix::Right right;
#pragma clang loop unroll(full)
    for (int t = 0; t < Matrix::tokens; ++t)
#pragma clang loop unroll(full)
      for (int i = 0; i < Matrix::pieces; ++i) {
        const auto eight = *reinterpret_cast<const u32x2*>(
            base + (plane * Tokens + first + Matrix::token(t)) * stride + s * segment_cols +
            Matrix::piece(i) * 8);
        right.words[t][i][0] = eight[0];
        right.words[t][i][1] = eight[1];
      }
    return right;
  }
  __device__ GroupScale scale(int token, int g) const {
    return reinterpret_cast<const GroupScale*>(base + code_bytes)[token * block_groups + g];
  }
};

// What a thread carries from global to shared memory for one block of columns.
template <class X, int Tokens>
struct TokenLoad {
  static constexpr int loads = X::planes * Tokens * block_cols / 16 / threads;
  static constexpr int block_groups = X::block_groups;
  static constexpr int scales = (Tokens * block_groups + threads - 1) / threads;
  u32x4 codes[loads];
  GroupScale scale[scales > 0 ? scales : 1];

  // Beyond the last token the last is taken again; its results are not stored.
  __device__ __attribute__((always_inline)) void read(const X& x, index first, int block) {
#pragma clang loop unroll(full)
    for (int i = 0; i < loads; ++i) {
      const int at = i * threads + thread();
      const index token = clamp(first + at / 8 % Tokens, x.rows);
      const int plane = at / 8 / Tokens;
      codes[i] = *reinterpret_cast<const u32x4*>(x.codes + (plane * x.rows + token) * X::row_codes +
                                                 index{block} * block_cols + at % 8 * 16);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < scales; ++i) {
      const int at = i * threads + thread();
      const int g = block * block_groups + at % block_groups;
      const index token = clamp(first + at / block_groups, x.rows);
      scale[i] = g < X::groups && at < Tokens * block_groups ? x.scales[token * X::groups + g]
                                                             : GroupScale{0, 0};
    }
  }
  // Biases of groups times `factor`, which is the same for all rows of the weights.
  __device__ __attribute__((always_inline)) void write(const TokenTile<X, Tokens>& to,
                                                       float factor) const {
#pragma clang loop unroll(full)
    for (int i = 0; i < loads; ++i) {
      const int at = i * threads + thread();
      *reinterpret_cast<u32x4*>(to.base + at / 8 * TokenTile<X, Tokens>::stride + at % 8 * 16) =
          codes[i];
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < scales; ++i) {
      const int at = i * threads + thread();
      if (at < Tokens * block_groups)
        reinterpret_cast<GroupScale*>(to.base + TokenTile<X, Tokens>::code_bytes)[at] =
            GroupScale{scale[i].scale, scale[i].bias * factor};
    }
  }
  static __device__ index clamp(index token, index rows) { return token < rows ? token : rows - 1; }
};

// This lane's words of the left side for one block. Pieces share words of narrow fields. AtOnce: up
// to this width all words of a row are read with few loads, though some are other lanes'; where the
// loads are not what one waits for, choosing among them costs more.
template <class W, int AtOnce = 1, class Codes = typename W::codes_type>
struct LeftCodes {
  static constexpr int count(int width) {
    return width == 8   ? 2 * Matrix::pieces
           : width == 1 ? 1
           : width == 2 ? (Matrix::pieces + 1) / 2 + (Matrix::pieces == 2 ? 1 : 0)
                        : Matrix::pieces;
  }
  // Which of them has half `half` of piece number i.
  static constexpr int slot(int width, int i, int half) {
    return width == 8                          ? 2 * i + half
           : width == 1                        ? 0
           : width == 2 && Matrix::pieces == 4 ? i / 2
                                               : i;
  }
  // Of all fields with bits in `fields`.
  static constexpr int count_all(int fields) {
    int all = 0;
    for (int width = 8; width > 0; width /= 2) all += has_field(fields, width) ? count(width) : 0;
    return all;
  }
  u32 bits[block_segments][Matrix::rows][count_all(W::bits)];

  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block) {
    const u8* from = w.codes + tile * W::tile_bytes + index{block} * W::block_bytes;
    const bool whole = W::is_whole(block);
    each_field<W::bits>([&](auto field) __attribute__((always_inline)) {
      constexpr int width = field.width, before = count_all(field.below);
      const u8* const first =
          from + tile_rows * 4 * field.below * (whole ? block_segments : W::last_segments);
      if constexpr (width <= AtOnce) {
        if (whole) return read_whole<width, before>(first);
      }
#pragma clang loop unroll(full)
      for (int s = 0; s < block_segments; ++s)
#pragma clang loop unroll(full)
        for (int r = 0; r < Matrix::rows; ++r)
#pragma clang loop unroll(full)
          for (int i = 0; i < Matrix::pieces; ++i)
#pragma clang loop unroll(full)
            for (int half = 0; half < 2; ++half) {
              if (i > 0 && slot(width, i, half) == slot(width, i - 1, 1)) continue;
              if (half == 1 && slot(width, i, 1) == slot(width, i, 0)) continue;
              const int word = s * width + Matrix::piece(i) * width / 4 + (width == 8 ? half : 0);
              const int row = Matrix::row(r);
              u32& to = bits[s][r][before + slot(width, i, half)];
              if (whole) {
                to = load_stream<u32>(first + (word / 4 * tile_rows + row) * 16 + word % 4 * 4);
              } else {
                to = s < W::last_segments ? load_stream<u32>(first + (word * tile_rows + row) * 4)
                                          : 0U;
              }
            }
    });
  }

  template <int Width, int Before>
  __device__ __attribute__((always_inline)) void read_whole(const u8* first) {
#pragma clang loop unroll(full)
    for (int r = 0; r < Matrix::rows; ++r) {
      u32x4 words[Width];
#pragma clang loop unroll(full)
      for (int k = 0; k < Width; ++k)
        words[k] = load_stream<u32x4>(first + (k * tile_rows + Matrix::row(r)) * 16);
#pragma clang loop unroll(full)
      for (int s = 0; s < block_segments; ++s)
#pragma clang loop unroll(full)
        for (int i = 0; i < Matrix::pieces; ++i) {
          u32& to = bits[s][r][Before + slot(Width, i, 0)];
          if constexpr (Width == 1) {
            to = words[0][s];
          } else {
            to = Matrix::piece(i) / 2 == 0 ? words[s / 2][s % 2 * 2] : words[s / 2][s % 2 * 2 + 1];
          }
        }
    }
  }

  __device__ __attribute__((always_inline)) Matrix::Left segment(int s) const {
    Matrix::Left left;
#pragma clang loop unroll(full)
    for (int r = 0; r < Matrix::rows; ++r)
#pragma clang loop unroll(full)
      for (int i = 0; i < Matrix::pieces; ++i)
#pragma clang loop unroll(full)
        for (int half = 0; half < 2; ++half) {
          u32 codes = 0;
          each_field<W::bits>([&](auto field) __attribute__((always_inline)) {
            constexpr int width = field.width;
            const u32 word = bits[s][r][count_all(field.below) + slot(width, i, half)];
            if (width == 8) {
              codes = word;
            } else {
              const int shift = (Matrix::piece(i) * 2 + half) * width % 8;
              codes |= ((word >> shift) & (0x01010101U * ((1U << width) - 1U))) << field.below;
            }
          });
          left.words[r][i][half] = W::levels_type::levels(codes);
        }
    return left;
  }
};

// A lane's columns are known at run time alone, and with them words and digits.
template <class W, int AtOnce>
struct LeftCodes<W, AtOnce, TritCodes> {
  const u8* words;  // of the 256 columns
  int half;

  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block) {
    words = w.codes + tile * W::tile_bytes + index{block / 2} * TritCodes::words * tile_rows * 4;
    half = block % 2;
  }
  __device__ __attribute__((always_inline)) Matrix::Left segment(int s) const {
    Matrix::Left left;
#pragma clang loop unroll(full)
    for (int r = 0; r < Matrix::rows; ++r)
#pragma clang loop unroll(full)
      for (int i = 0; i < Matrix::pieces; ++i)
#pragma clang loop unroll(full)
        for (int h = 0; h < 2; ++h) {
          const int step = s * 8 + Matrix::piece(i) * 2 + h;
          const int word = step < 30 ? half * 6 + step / 5 : 12;
          const int digit = step < 30 ? step % 5 : half * 2 + step - 30;
          const u32 power = digit == 0   ? TritCodes::power(0)
                            : digit == 1 ? TritCodes::power(1)
                            : digit == 2 ? TritCodes::power(2)
                            : digit == 3 ? TritCodes::power(3)
                                         : TritCodes::power(4);
          const u32 bytes =
              *reinterpret_cast<const u32*>(words + (word * tile_rows + Matrix::row(r)) * 4);
          left.words[r][i][h] = TritCodes::digit(bytes, power);
        }
    return left;
  }
};

// The columns of one half of a segment; zeros in the other.
SINTER_INLINE Matrix::Left half_of(Matrix::Left left, int half) {
#pragma clang loop unroll(full)
  for (int r = 0; r < Matrix::rows; ++r)
#pragma clang loop unroll(full)
    for (int i = 0; i < Matrix::pieces; ++i)
#pragma clang loop unroll(full)
      for (int h = 0; h < 2; ++h)
        left.words[r][i][h] = Matrix::piece(i) / 2 == half ? left.words[r][i][h] : 0U;
  return left;
}

// How many tokens a block takes at a time: half of tile_tokens where all would need more registers
// than a lane has. Those are many sums; many words of codes beside the tokens', where there are no
// matrix units; and records of scales in waves of 64: a lane has four rows there, and four records.
// 64 tokens then take 130 to 160 registers. With 32 it is under 128 and half of the shared memory,
// which lets more waves share a SIMD; what that is worth has not been measured, for want of a card.
// It also keeps 16-bit operands below v128, where the emulator that replays captures can follow.
template <class W>
constexpr int tokens_of_tile(int planes, int parts) {
  const bool records = has_levels_of_scales<typename W::scales_type> && wave_size == 64;
  const int words = ((parts + 1) * sizeof(LeftCodes<W>) + sizeof(Matrix::Right)) / 4;
  return planes * parts < (records ? 2 : 4) && words <= 128 && !W::levels_type::is_table
             ? tile_tokens
             : tile_tokens / 2;
}

template <class X>
constexpr int tile_shared_bytes = 0;
template <int Cols, int Group, int Planes>
constexpr int tile_shared_bytes<QuantizedRows<Cols, Group, Planes>> =
    sizes::tile_shared_bytes(Planes, QuantizedRows<Cols, Group, Planes>::block_groups);

// See matmul_one_row for the parts and the epilogue.
template <int Parts, int Rows, class W, int Cols, int Group, int Planes, class Epilogue>
SINTER_INLINE void multiply(const Launch* launch, const W& w,
                            const QuantizedRows<Cols, Group, Planes>& x, const Epilogue& epilogue) {
  using X = QuantizedRows<Cols, Group, Planes>;
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  constexpr index row_units = (tiles + waves - 1) / waves;
  constexpr int tokens = tokens_of_tile<W>(Planes, Parts);
  constexpr int columns = tokens / 16;  // of matrix tiles
  using Tile = TokenTile<X, tokens>;
  // A group of 16 columns is half of a segment.
  constexpr int group_segments = W::group < segment_cols ? 1 : W::group / segment_cols;
  constexpr int segment_groups = W::group < segment_cols ? segment_cols / W::group : 1;
  const index token_units = (x.rows + tokens - 1) / tokens;
  const float factor = W::has_offsets ? 1.0F : W::sum_factor();

  // Blocks that follow one another share weights.
  for (index unit = launch->worker; unit < row_units * token_units; unit += launch->workers) {
    const index first = unit % token_units * tokens;
    const index tile_or_more = unit / token_units * waves + wave();
    const index tile = tile_or_more < tiles ? tile_or_more : tiles - 1;
    const auto buffer = [&](int i) { return Tile{shared_memory() + (i & 1) * Tile::bytes}; };
    float y[Parts][columns][Matrix::sums] = {};
    TokenLoad<X, tokens> load_next;
    LeftCodes<W> left[Parts];
    load_next.read(x, first, 0);
#pragma clang loop unroll(full)
    for (int part = 0; part < Parts; ++part) left[part].read(w, part * tiles + tile, 0);
    load_next.write(buffer(0), factor);
    barrier();
#pragma clang loop unroll(disable)
    for (int block = 0; block < W::blocks; ++block) {
      const bool more = block + 1 < W::blocks;
      if (more) load_next.read(x, first, block + 1);
      const Tile staged = buffer(block);
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part) {
        const LeftCodes<W> here = left[part];
        if (more) left[part].read(w, part * tiles + tile, block + 1);
#pragma clang loop unroll(full)
        for (int segment = 0; segment < block_segments; segment += group_segments) {
          if (segment >= W::segments(block)) continue;
          Matrix::Left left_of_group[group_segments];
#pragma clang loop unroll(full)
          for (int i = 0; i < group_segments; ++i) left_of_group[i] = here.segment(segment + i);
          // Rolled: halves of a segment one after the other keep to few registers.
#pragma clang loop unroll(disable)
          for (int half = 0; half < segment_groups; ++half) {
            const int g = segment * segment_cols / W::group + half;
            Matrix::Left a[group_segments];
#pragma clang loop unroll(full)
            for (int i = 0; i < group_segments; ++i)
              a[i] = segment_groups > 1 ? half_of(left_of_group[i], half) : left_of_group[i];
            // The group's scales of this lane's rows.
            float scale[Matrix::sums];
            float offset[Matrix::sums];
#pragma clang loop unroll(full)
            for (int e = 0; e < Matrix::sums; ++e) {
              w.one_scale(part * tiles + tile, block, Matrix::sum_row(e), g, scale[e], offset[e]);
              if constexpr (W::has_offsets) offset[e] = fma(W::code_offset, scale[e], offset[e]);
            }
#pragma clang loop unroll(full)
            for (int c = 0; c < columns; ++c) {
              int sums[Planes][Matrix::sums];
#pragma clang loop unroll(full)
              for (int p = 0; p < Planes; ++p)
#pragma clang loop unroll(full)
                for (int e = 0; e < Matrix::sums; ++e) sums[p][e] = Matrix::start;
#pragma clang loop unroll(full)
              for (int p = 0; p < Planes; ++p)
#pragma clang loop unroll(full)
                for (int i = 0; i < group_segments; ++i)
                  Matrix::multiply(sums[p], a[i], staged.right(p, c * 16, segment + i));
#pragma clang loop unroll(full)
              for (int e = 0; e < Matrix::sums; ++e) {
                float total = Matrix::number(sums[0][e]);
                if constexpr (Planes == 2) total = fma(total, 256.0F, Matrix::number(sums[1][e]));
                float& to = y[part][c][e];
                if constexpr (!W::has_scales) {
                  to += total;
                } else {
                  const GroupScale token = staged.scale(c * 16 + Matrix::sum_token(e), g);
                  if constexpr (W::has_offsets) {
                    to = fma(total * token.scale, scale[e], fma(offset[e], token.bias, to));
                  } else {
                    to = fma(fma(total, token.scale, token.bias), scale[e], to);
                  }
                }
              }
              settle(y[part][c]);
            }
          }
        }
      }
      if (more) load_next.write(buffer(block + 1), factor);
      barrier();
    }
    if (tile_or_more < tiles)
#pragma clang loop unroll(full)
      for (int c = 0; c < columns; ++c)
#pragma clang loop unroll(full)
        for (int e = 0; e < Matrix::sums; ++e) {
          const index row = first + c * 16 + Matrix::sum_token(e);
          const index col = tile * tile_rows + Matrix::sum_row(e);
          if (row >= x.rows || col >= Rows) continue;
#pragma clang loop unroll(full)
          for (int part = 0; part < Parts; ++part) {
            float& of = y[part][c][e];
            if constexpr (!W::has_scales) {
              const GroupScale token = x.scales[row];
              of = fma(of, token.scale, factor * token.bias) * W::scale_factor();
            }
            of *= w.factor.of_row(part * index{Rows} + col);
          }
          if constexpr (Parts == 1) epilogue(row, col, Rows - col, y[0][c][e]);
          if constexpr (Parts == 2) epilogue(row, col, Rows - col, y[0][c][e], y[1][c][e]);
        }
  }
}

// Dense weights in float32: a lane has one row of the wave's tile and a share of the tokens.
constexpr int dense_cols = 32;  // of a step
constexpr int dense_stride = sizes::dense_stride;
template <int Cols>
constexpr int tile_shared_bytes<FloatRows<Cols>> = sizes::dense_tile_shared_bytes;

template <int Parts, int Rows, class W, int Cols, class Epilogue>
SINTER_INLINE void multiply(const Launch* launch, const W& w, const FloatRows<Cols>& x,
                            const Epilogue& epilogue) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  constexpr index row_units = (tiles + waves - 1) / waves;
  constexpr int tokens = static_cast<int>(sizes::dense_tokens(tiles));
  constexpr int lane_tokens = tokens * tile_rows / wave_size;
  constexpr int loads = dense_cols / W::chunk;
  constexpr int shares = tokens * dense_cols / threads;  // numbers of a step that a thread brings
  const index token_units = (x.rows + tokens - 1) / tokens;
  float* const shared = reinterpret_cast<float*>(shared_memory());
  const int row = lane() % tile_rows;
  const int mine = lane() / tile_rows * lane_tokens;
  const int token_of = thread() / dense_cols;
  const int column_of = thread() % dense_cols;

  for (index unit = launch->worker; unit < row_units * token_units; unit += launch->workers) {
    const index first = unit % token_units * tokens;
    const index tile_or_more = unit / token_units * waves + wave();
    const index tile = tile_or_more < tiles ? tile_or_more : tiles - 1;
    // What a step needs is under way while the one before is multiplied, where that leaves
    // registers.
    constexpr bool ahead = loads * Parts <= 4 && lane_tokens * Parts <= 16;
    float next[shares];
    u32x4 weights[Parts][loads];
    const auto read_rows = [&](int k0) __attribute__((always_inline)) {
#pragma clang loop unroll(full)
      for (int i = 0; i < shares; ++i) {
        const index token = first + token_of + i * (threads / dense_cols);
        const int k = k0 + column_of;
        next[i] = token < x.rows && k < Cols ? x.values[token * Cols + k] : 0.0F;
      }
    };
    const auto read_weights = [&](int k0, int part, int i) __attribute__((always_inline)) {
      const int chunk = k0 / W::chunk + i;
      weights[part][i] = u32x4{0, 0, 0, 0};
      if (chunk < W::chunks)
        weights[part][i] = load_stream<u32x4>(
            w.values + (((part * tiles + tile) * W::chunks + chunk) * tile_rows + row) * W::chunk);
    };
    float y[Parts][lane_tokens] = {};
    read_rows(0);
    if constexpr (ahead)
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part)
#pragma clang loop unroll(full)
        for (int i = 0; i < loads; ++i) read_weights(0, part, i);
#pragma clang loop unroll(disable)
    for (int k0 = 0; k0 < Cols; k0 += dense_cols) {
      barrier();
#pragma clang loop unroll(full)
      for (int i = 0; i < shares; ++i)
        shared[(token_of + i * (threads / dense_cols)) * dense_stride + column_of] = next[i];
      barrier();
      if (k0 + dense_cols < Cols) read_rows(k0 + dense_cols);
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part)
#pragma clang loop unroll(full)
        for (int i = 0; i < loads; ++i) {
          if constexpr (!ahead) read_weights(k0, part, i);
          // Four elements at a time, in a loop that stays one: few registers.
          u32x4 bits = weights[part][i];
          const int chunk = k0 / W::chunk + i;
          const float scale = chunk < W::chunks ? w.scale(part * tiles + tile, row, chunk) : 0.0F;
          if (ahead && k0 + dense_cols < Cols) read_weights(k0 + dense_cols, part, i);
#pragma clang loop unroll(disable)
          for (int j = 0; j < W::chunk; j += 4) {
            const f32x4 four = take_four<W>(bits, scale);
#pragma clang loop unroll(full)
            for (int t = 0; t < lane_tokens; ++t) {
              const auto a = *reinterpret_cast<const f32x4*>(shared + (mine + t) * dense_stride +
                                                             i * W::chunk + j);
#pragma clang loop unroll(full)
              for (int k = 0; k < 4; ++k) y[part][t] = fma(four[k], a[k], y[part][t]);
            }
          }
        }
    }
    const index col = tile * tile_rows + row;
    if (tile_or_more < tiles && col < Rows)
#pragma clang loop unroll(full)
      for (int t = 0; t < lane_tokens; ++t) {
        const index token = first + mine + t;
        if (token >= x.rows) continue;
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part)
          y[part][t] *= w.factor.of_row(part * index{Rows} + col);
        if constexpr (Parts == 1) epilogue(token, col, Rows - col, y[0][t]);
        if constexpr (Parts == 2) epilogue(token, col, Rows - col, y[0][t], y[1][t]);
      }
  }
}

}  // namespace sinter
