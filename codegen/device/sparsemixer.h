// SparseMixer's routing. Whoever includes this has defined SINTER_INLINE.
#pragma once

#include "elements.h"

namespace sinter {

// Of place k of `chosen`, with c the row's number in that column: 1 / sum of e^(row[i] - c) over
// the columns that no place before k has and that are not far below. Of these c is the largest.
template <int Width, class Exp>
SINTER_INLINE float sparsemixer_share(const float* row, const i32* chosen, index k, float margin,
                                      const Exp& exponential) {
  const float c = row[chosen[k]];
  float sum = 0;
  for (index i = 0; i < Width; ++i) {
    const float size = __builtin_fabsf(row[i]) > c ? __builtin_fabsf(row[i]) : c;
    bool out = c - row[i] > margin * size;
    for (index j = 0; j < k; ++j) out = out || chosen[j] == i;
    if (!out) sum += exponential(row[i] - c);
  }
  return 1.0F / sum;
}

}  // namespace sinter
