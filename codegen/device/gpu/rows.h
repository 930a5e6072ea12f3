// Work on rows that no matrix product absorbs.
#pragma once

#include "gpu/activations.h"

namespace sinter {

// f(row, column, columns left) for every column of every row, a row to a block.
template <int Cols, class F>
SINTER_INLINE void for_each_vector(const Launch* launch, index rows, const F& f) {
  for (index r = launch->worker; r < rows; r += launch->workers)
    for (index k = thread(); k < Cols; k += threads) f(r, k, Cols - k);
}

// Rows of a prologue as float32, row r at place(r).
template <int Cols, class Prologue, class Place>
SINTER_INLINE void write_float_rows(const Launch* launch, float* out, index rows,
                                    const Prologue& prologue, const Place& place) {
  float* scratch = reinterpret_cast<float*>(shared_memory());
  for (index r = launch->worker; r < rows; r += launch->workers) {
    write_floats<Cols>(out + place(r) * Cols, r, prologue, scratch);
    barrier();
  }
}

}  // namespace sinter
