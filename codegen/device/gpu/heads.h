// Heads of q, k and v, and what happens to them before attention: norm, scale, rotation.
#pragma once

#include "gpu/activations.h"
#include "head_rows.h"

namespace sinter {

// Heads of q, k or v and what happens to them before attention: norm, scale, rotation of RopeDims
// features from RopeBegin on. A wave works on a head: first it fetches everything, so that all
// loads are under way together (what no phase just before has written may come earlier), then it
// applies. Norm: the element type of its weight; void: no norm.
template <int HeadDim, class Norm, int RopeDims, bool Interleaved, class NormOf = OfHead,
          int RopeBegin = 0, class Rows = HeadRows>
struct HeadTransform {
  const Norm* norm;  // [HeadDim], or of the row
  float eps;
  const float* table;  // [rows, RopeDims]: cos | sin
  Rows rows;

  static constexpr bool has_norm = !__is_void(Norm);
  static constexpr bool has_weight = has_norm && !__is_same(Norm, Unweighted);
  static constexpr bool of_row = NormOf::cols > 0;
  static constexpr bool of_rotated = __is_same(NormOf, OfRotatedHead);
  static constexpr int half = RopeDims / 2;
  // Of a lane: features, and pairs that are rotated.
  static constexpr int features = (HeadDim + wave_size - 1) / wave_size;
  static constexpr int pairs = (half + wave_size - 1) / wave_size;
  struct Head {
    float x[features];
    float weight[features];
    float cosine[pairs + 1];  // one more: there may be none
    float sine[pairs + 1];
  };

  // What a norm over the row makes of all of its heads, by the whole block. `scratch`: as of
  // sum_block.
  __device__ __attribute__((always_inline)) float row_factor(index t, float* scratch) const {
    if constexpr (of_row) {
      const float* const row = rows.base + t * rows.stride + NormOf::begin;
      float squares = 0;
      for (int i = thread(); i < NormOf::cols; i += threads) squares += row[i] * row[i];
      return inverse_root(sum_block(squares, scratch) / NormOf::cols + eps);
    } else {
      return 1.0F;
    }
  }
  __device__ __attribute__((always_inline)) void fetch_weights(index h, Head& head) const {
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) {
      const int i = j * wave_size + lane();
      if constexpr (has_weight)
        head.weight[j] = i < HeadDim ? load(norm + NormOf::first + h * NormOf::stride + i) : 0.0F;
    }
  }
  // What is the same for all heads.
  __device__ __attribute__((always_inline)) void fetch_constants(index t, Head& head) const {
    if constexpr (!of_row) fetch_weights(0, head);
#pragma clang loop unroll(full)
    for (int j = 0; j < pairs; ++j) {
      const int i = j * wave_size + lane();
      if (i >= half) continue;
      head.cosine[j] = table[t * RopeDims + i];
      head.sine[j] = table[t * RopeDims + half + i];
    }
  }
  // Head h of row t.
  __device__ __attribute__((always_inline)) void fetch(index t, index h, Head& head) const {
    const auto in = rows.head(t, h);
    if constexpr (of_row) fetch_weights(h, head);
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) {
      const int i = j * wave_size + lane();
      head.x[j] = i < HeadDim ? in[i] : 0.0F;
    }
  }
  static __device__ __attribute__((always_inline)) float factor_of(const float (&x)[features],
                                                                   float eps) {
    float squares = 0;
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) squares += x[j] * x[j];
    return inverse_root(sum_lanes<wave_size>(squares) / HeadDim + eps);
  }
  // `out` is in shared memory.
  __device__ __attribute__((always_inline)) void apply(const Head& head, float row_factor,
                                                       float scale, float* out) const {
    float factor = of_rotated ? 1.0F : scale;
    if constexpr (of_row) {
      factor = scale * row_factor;
    } else if constexpr (has_norm && !of_rotated) {
      factor = scale * factor_of(head.x, eps);
    }
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) {
      const int i = j * wave_size + lane();
      float x = head.x[j] * factor;
      if constexpr (has_weight && !of_rotated) x *= head.weight[j];
      if (i < HeadDim) out[i] = x;
    }
    if constexpr (pairs > 0) wave_barrier();
#pragma clang loop unroll(full)
    for (int j = 0; j < pairs; ++j) {
      const int i = j * wave_size + lane();
      if (i >= half) continue;
      float* const a = out + RopeBegin + (Interleaved ? 2 * i : i);
      float* const b = out + RopeBegin + (Interleaved ? 2 * i + 1 : i + half);
      const float xa = *a;
      const float xb = *b;
      *a = xa * head.cosine[j] - xb * head.sine[j];
      *b = xb * head.cosine[j] + xa * head.sine[j];
    }
    if constexpr (of_rotated) {
      wave_barrier();
      float x[features];
#pragma clang loop unroll(full)
      for (int j = 0; j < features; ++j) {
        const int i = j * wave_size + lane();
        x[j] = i < HeadDim ? out[i] : 0.0F;
      }
      const float after = scale * factor_of(x, eps);
      wave_barrier();
#pragma clang loop unroll(full)
      for (int j = 0; j < features; ++j) {
        const int i = j * wave_size + lane();
        x[j] *= after;
        if constexpr (has_weight) x[j] *= head.weight[j];
        if (i < HeadDim) out[i] = x[j];
      }
    }
  }
  // The norm of a value, of which a lane has `Run` neighbouring features: zeros beyond the head.
  template <int Run>
  __device__ __attribute__((always_inline)) void normalize(float (&x)[Run]) const {
    static_assert(RopeDims == 0 && !of_row && !of_rotated, "values have norms of heads alone");
    if constexpr (has_norm) {
      float squares = 0;
#pragma clang loop unroll(full)
      for (int i = 0; i < Run; ++i) squares += x[i] * x[i];
      const float factor = inverse_root(sum_lanes<wave_size>(squares) / HeadDim + eps);
#pragma clang loop unroll(full)
      for (int i = 0; i < Run; ++i) {
        const int feature = lane() * Run + i;
        x[i] *= factor;
        if constexpr (has_weight) x[i] *= feature < HeadDim ? load(norm + feature) : 0.0F;
      }
    }
  }
};

}  // namespace sinter
