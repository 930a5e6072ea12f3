// Work on rows that no matrix product absorbs.
#pragma once

#include "cpu/activations.h"
#include "step.h"

namespace sinter {

// f(row, column, lanes left) for every 16 columns of every row; rows are shared among the workers.
template <int Cols, class F>
SINTER_INLINE void for_each_vector(const Launch* launch, index rows, const F& f) {
  const Range mine = share(rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r)
    for (index k = 0; k < Cols; k += lanes) f(r, k, Cols - k);
}

// Rows of a prologue as float32, row r at place(r).
template <int Cols, class Prologue, class Place>
SINTER_INLINE void write_float_rows(const Launch* launch, float* out, index rows,
                                    const Prologue& prologue, const Place& place) {
  const Range mine = share(rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r)
    write_floats<Cols>(out + place(r) * Cols, r, prologue);
}

}  // namespace sinter
