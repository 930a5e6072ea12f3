// Work on rows that no matrix product absorbs.
#pragma once

#include "gpu/math.h"

namespace sinter {

// f(row, column, columns left) for every column of every row, a row to a block.
template <int Cols, class F>
SINTER_INLINE void for_each_vector(const Launch* launch, index rows, const F& f) {
  for (index r = launch->worker; r < rows; r += launch->workers)
    for (index k = thread(); k < Cols; k += threads) f(r, k, Cols - k);
}

}  // namespace sinter
