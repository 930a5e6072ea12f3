// Rows of an embedding table by token, and the table of RoPE angles: what a step starts with.
#pragma once

#include "gpu/activations.h"
#include "log_growth.h"

namespace sinter {

// The four codes of a row from column k of a block on; `field` is where the block's codes begin.
template <class W>
SINTER_INLINE u32 four_codes(const u8* field, int block, int row, int k) {
  const int segment = k / segment_cols;
  const int step = k % segment_cols / 4;
  const bool whole = W::is_whole(block);
  u32 codes = 0;
  each_field<W::bits>([&](auto part) __attribute__((always_inline)) {
    constexpr int width = part.width;
    const u8* const first = field + tile_rows * 4 * part.below * W::segments(block);
    const int word = segment * width + step * width / 8;
    const u32 bits = *reinterpret_cast<const u32*>(
        first +
        (whole ? (word / 4 * tile_rows + row) * 16 + word % 4 * 4 : (word * tile_rows + row) * 4));
    codes |= ((bits >> (step * width % 8)) & (0x01010101U * ((1U << width) - 1U))) << part.below;
  });
  return codes;
}

// The same of codes in base 3.
SINTER_INLINE u32 four_trits(const u8* words, int block, int row, int k) {
  const int step = k / 4;
  const int word = step < 30 ? block % 2 * 6 + step / 5 : 12;
  const int digit = step < 30 ? step % 5 : block % 2 * 2 + step - 30;
  u32 power = 1;
  for (int i = 0; i < digit; ++i) power *= 3;
  return TritCodes::digit(*reinterpret_cast<const u32*>(words + (word * tile_rows + row) * 4),
                          power);
}

// Four columns of a row from k on, a multiple of four; of those from Width on something.
template <int Width, int Cols, int Group, class Codes, class Levels, class Scales, class Offsets,
          class Factor>
SINTER_INLINE f32x4 decode_four(
    const CodedWeights<Cols, Group, Codes, Levels, Scales, Offsets, Factor>& w, index row, int k) {
  using W = CodedWeights<Cols, Group, Codes, Levels, Scales, Offsets, Factor>;
  const index tile = row / tile_rows;
  const int in_tile = static_cast<int>(row % tile_rows);
  const float all = w.factor.of_row(row);
  const int block = k / block_cols;
  const int in_block = k % block_cols;
  u32 codes = 0;
  if constexpr (__is_same(Codes, TritCodes)) {
    codes = four_trits(
        w.codes + tile * W::tile_bytes + index{block / 2} * TritCodes::words * tile_rows * 4, block,
        in_tile, in_block);
  } else {
    codes = four_codes<W>(w.codes + tile * W::tile_bytes + index{block} * W::block_bytes, block,
                          in_tile, in_block);
  }
  const u32 levels = Levels::levels(codes);
  float scale = 1;
  float offset = 0;
  w.one_scale(tile, block, in_tile, in_block / Group, scale, offset);
  f32x4 y;
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; ++i) {
    const float level = static_cast<float>(static_cast<i8>(levels >> (8 * i))) + W::code_offset;
    if constexpr (W::has_offsets) {
      y[i] = all * fma(scale, level, offset);
    } else {
      y[i] = all * (scale * (level - Levels::zero));
    }
  }
  return y;
}

// Dense and E4M3 weights.
template <int Width, class W>
SINTER_INLINE f32x4 decode_four(const W& w, index row, int k) {
  static_assert(Width == W::cols);
  const index tile = row / tile_rows;
  const int in_tile = static_cast<int>(row % tile_rows);
  const float all = w.factor.of_row(row);
  f32x4 y;
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; ++i) {
    const int c = k + i < Width ? k + i : Width - 1;
    y[i] = all *
           (w.scale(tile, in_tile, c / W::chunk) *
            load(w.values + ((tile * W::chunks + c / W::chunk) * tile_rows + in_tile) * W::chunk +
                 c % W::chunk));
  }
  return y;
}

// out [rows, Width]: a row of the table for the token (or position) of each row of the step.
template <int Width, bool ByPosition = false, int Rows = 0, class W>
SINTER_INLINE void embed(const Launch* launch, const W& w, const StepRow* rows, float* out) {
  for (index r = launch->worker; r < launch->step->rows; r += launch->workers) {
    const index row = table_row<ByPosition, Rows>(rows[r]);
    for (int k = thread() * 4; k < Width; k += threads * 4) {
      const f32x4 four = decode_four<Width>(w, row, k);
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i)
        if (k + i < Width) out[r * Width + k + i] = four[i];
    }
  }
}

// A prologue: the rows of the table as out of embed().
template <int Width, class W, bool ByPosition, int Rows>
struct TableRows {
  W w;
  const StepRow* rows;

  static constexpr int cols = Width;
  static constexpr int run = 1;
  template <class Team>
  __device__ __attribute__((always_inline)) void prepare(index r,
                                                         Held (&row)[rounds_of<Width, Team>],
                                                         Team team) const {
    const index of_table = table_row<ByPosition, Rows>(rows[r]);
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Width, Team>; ++i) {
      row[i] = Held{};
#pragma clang loop unroll(full)
      for (int four = 0; four < held; four += 4) {
        const int k = first_column(i, team) + four;
        if (k >= Width) continue;
        const f32x4 values = decode_four<Width>(w, of_table, k);
#pragma clang loop unroll(full)
        for (int j = 0; j < 4; ++j) row[i].v[four + j] = k + j < Width ? values[j] : 0.0F;
      }
    }
  }
};

// out [rows, 2 * Half]: cos in the first half, sin in the second, of the row's position * inv_freq,
// both times scale and what grows with the position.
template <int Half, class Growth = NoGrowth>
SINTER_INLINE void rope_table(const Launch* launch, const float* inv_freq, float scale, float* out,
                              const Growth& growth = {}) {
  for (index r = launch->worker; r < launch->step->rows; r += launch->workers) {
    const float position = static_cast<float>(step_rows(launch)[r].position);
    const float factor = scale * growth.at(step_rows(launch)[r].position);
    for (int i = thread(); i < Half; i += threads) {
      float cosine = 0;
      float sine = 0;
      cos_sin(position * inv_freq[i], &cosine, &sine);
      out[r * 2 * Half + i] = cosine * factor;
      out[r * 2 * Half + Half + i] = sine * factor;
    }
  }
}

}  // namespace sinter
