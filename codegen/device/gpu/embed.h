// Rows of an embedding table by token, and the table of RoPE angles: what a step starts with.
#pragma once

#include "gpu/activations.h"

namespace sinter {

// A block to a token; only the token's row is decoded, four columns to a thread.
template <class W>
SINTER_INLINE float decode_scale(const W& w, index at, float code) {
  const float scale = load(w.scales + at);
  code += W::code_offset;
  if constexpr (W::has_bias) {
    return fma(scale, code, load(w.biases + at));
  } else {
    return scale * (code - W::zero);
  }
}

template <class W>
SINTER_INLINE void decode_row(const W& w, index row, float* out) {
  const index tile = row / tile_rows;
  const int in_tile = static_cast<int>(row % tile_rows);
  for (int k = thread() * 4; k < W::cols; k += threads * 4) {
    const int block = k / block_cols;
    const int segment = k % block_cols / segment_cols;
    const int step = k % segment_cols / 4;
    const bool whole = W::is_whole(block);
    const u8* field = w.codes + tile * W::tile_bytes + index{block} * W::block_bytes;
    u32 codes = 0;
    int low = 0;
#pragma clang loop unroll(full)
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(W::bits, width)) continue;
      const int word = segment * width + step * width / 8;
      const u32 bits = *reinterpret_cast<const u32*>(
          field + (whole ? (word / 4 * tile_rows + in_tile) * 16 + word % 4 * 4
                         : (word * tile_rows + in_tile) * 4));
      codes |= ((bits >> (step * width % 8)) & (0x01010101U * ((1U << width) - 1U))) << low;
      field += tile_rows * 4 * width * W::segments(block);
      low += width;
    }
    const int groups_here = W::segments(block) * segment_cols / W::group;
    const index at = W::scale_at(tile, block) + in_tile * groups_here + k % block_cols / W::group;
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; ++i) {
      const u32 byte = (codes >> (8 * i)) & 255U;
      const float code =
          W::bits == 8 ? static_cast<float>(static_cast<i8>(byte)) : static_cast<float>(byte);
      out[k + i] = decode_scale(w, at, code);
    }
  }
}

template <int Cols, class Element>
SINTER_INLINE void decode_row(const DenseWeights<Cols, Element>& w, index row, float* out) {
  using W = DenseWeights<Cols, Element>;
  for (int k = thread(); k < Cols; k += threads)
    out[k] = load(w.values +
                  ((row / tile_rows * W::chunks + k / W::chunk) * tile_rows + row % tile_rows) *
                      W::chunk +
                  k % W::chunk);
}

// out [tokens, cols]
template <class W>
SINTER_INLINE void embed(const Launch* launch, const W& w, const i32* tokens, float* out) {
  for (index t = launch->worker; t < launch->step->tokens; t += launch->workers)
    decode_row(w, tokens[t], out + t * W::cols);
}

// out [tokens, 2 * Half]: cos in the first half, sin in the second, of (position + t) * inv_freq,
// both times scale.
template <int Half>
SINTER_INLINE void rope_table(const Launch* launch, const float* inv_freq, float scale,
                              float* out) {
  for (index t = launch->worker; t < launch->step->tokens; t += launch->workers) {
    const float position = static_cast<float>(launch->step->position + t);
    for (int i = thread(); i < Half; i += threads) {
      float cosine = 0;
      float sine = 0;
      cos_sin(position * inv_freq[i], &cosine, &sine);
      out[t * 2 * Half + i] = cosine * scale;
      out[t * 2 * Half + Half + i] = sine * scale;
    }
  }
}

}  // namespace sinter
