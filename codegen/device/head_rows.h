// Where heads of q, k and v lie, and what a norm of them goes over.
#pragma once

#include "step.h"

namespace sinter {

// Of q, k or v: head h of row t is at base + t * stride + h * head_stride, its features one after
// another.
struct HeadRows {
  const float* base;
  index stride;
  index head_stride;
  SINTER_MEMBER const float* head(index t, index h) const {
    return base + t * stride + h * head_stride;
  }
};

// Heads whose features from First on are those of other heads.
template <int First>
struct ConcatHeads {
  HeadRows first, rest;
  struct Head {
    const float* first;
    const float* rest;
    SINTER_MEMBER float operator[](int i) const {
      return *(i < First ? first + i : rest + (i - First));
    }
  };
  SINTER_MEMBER Head head(index t, index h) const { return {first.head(t, h), rest.head(t, h)}; }
};

// In place of the transforms of k and v where attention appends nothing: another phase of the step
// has.
struct NoHeads {
  struct Head {};
};
template <class Keys>
constexpr bool appends = !__is_same(Keys, NoHeads);

// In place of the element type of a norm's weights where it has none.
struct Unweighted {};

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
