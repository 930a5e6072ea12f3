// Rows of an embedding table by token, and the table of RoPE angles: what a step starts with.
#pragma once

#include "cpu/math.h"
#include "cpu/weights.h"
#include "kernel_abi.h"

namespace sinter {

// out[0..cols) = row `row` of coded weights; only this row is decoded.
template <class W>
SINTER_INLINE void decode_row(const W& w, index row, float* out) {
  const index tile = row / tile_rows;
  const index lane = row % tile_rows;
  for (int g = 0; g < W::groups; ++g) {
    const u8* codes = w.codes + tile * W::tile_bytes + index{g} * W::group * 2 * W::bits;
    const index at = (tile * W::groups + g) * tile_rows + lane;
    const float scale = load_scalar(w.scales + at);
    for (int s = 0; s < W::group / 4; ++s) {
      const u32 four = Codes<W::bits>::unpack_lane(codes, W::group, s, lane);
      for (int k = 0; k < 4; ++k) {
        const float code = static_cast<float>((four >> (8 * k)) & 255U);
        float value = 0;
        if constexpr (W::has_bias) {
          value = scale * code + load_scalar(w.biases + at);
        } else {
          value = scale * (code - W::zero);
        }
        out[g * W::group + s * 4 + k] = value;
      }
    }
  }
}

template <int Cols, class Element>
SINTER_INLINE void decode_row(const DenseWeights<Cols, Element>& w, index row, float* out) {
  const Element* values = w.values + (row / tile_rows) * Cols * tile_rows + row % tile_rows;
  for (index k = 0; k < Cols; ++k) out[k] = load_scalar(values + k * tile_rows);
}

// out [tokens, cols]
template <class W>
SINTER_INLINE void embed(const Launch* launch, const W& w, const i32* tokens, float* out) {
  const Range mine = share(launch->step->tokens, launch->worker, launch->workers);
  for (index t = mine.begin; t < mine.end; ++t) decode_row(w, tokens[t], out + t * W::cols);
}

// out [tokens, 2 * Half]: cos in the first half, sin in the second, of (position + t) * inv_freq,
// both times scale.
template <int Half>
SINTER_INLINE void rope_table(const Launch* launch, const float* inv_freq, float scale,
                              float* out) {
  const Range mine = share(launch->step->tokens, launch->worker, launch->workers);
  for (index t = mine.begin; t < mine.end; ++t) {
    const float position = static_cast<float>(launch->step->position + t);
    float* row = out + t * 2 * Half;
    for (index i = 0; i < Half; i += lanes) {
      f32x16 cosine;
      f32x16 sine;
      cos_sin(load(inv_freq + i) * position, &cosine, &sine);
      store(row + i, cosine * scale, Half - i);
      store(row + Half + i, sine * scale, Half - i);
    }
  }
}

}  // namespace sinter
