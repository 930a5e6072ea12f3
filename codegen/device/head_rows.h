// Where heads of q, k and v lie, and what a norm of them goes over.
#pragma once

#include "elements.h"

namespace sinter {

// One of q, k, v: head h of row t is at base + t * stride + h * head_stride, its features one after
// another.
struct HeadRows {
  const float* base;
  index stride;
  index head_stride;
};

// What a norm goes over: a head, before or after its rotation; or `Cols` features of the row from
// `Begin` behind the first head on, where head h has the weights from First + h * Stride on.
struct OfHead {
  static constexpr int cols = 0, first = 0, stride = 0;
};
struct OfRotatedHead : OfHead {};
template <int Begin, int Cols, int First, int Stride>
struct OfRow {
  static constexpr int begin = Begin, cols = Cols, first = First, stride = Stride;
};

}  // namespace sinter
