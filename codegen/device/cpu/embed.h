// Rows of an embedding table by token, and the table of RoPE angles: what a step starts with.
#pragma once

#include "cpu/math.h"
#include "cpu/weights.h"
#include "kernel_abi.h"

namespace sinter {

// out [tokens, Width]; only the rows asked for are decoded.
template <int Width, class W>
SINTER_INLINE void embed(const Launch* launch, const W& w, const i32* tokens, float* out) {
  const Range mine = share(launch->step->tokens, launch->worker, launch->workers);
  for (index t = mine.begin; t < mine.end; ++t)
    w.template decode<Width>(tokens[t] / tile_rows, tokens[t] % tile_rows, tokens[t],
                             out + t * Width);
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
