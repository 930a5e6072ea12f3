// Rows of an embedding table by token, and the table of RoPE angles: what a step starts with.
#pragma once

#include "cpu/math.h"
#include "cpu/weights.h"
#include "log_growth.h"
#include "step.h"

namespace sinter {

// out [rows, Width]: a row of the table for the token (or position) of each row of the step; only
// those are decoded.
template <int Width, bool ByPosition = false, int Rows = 0, class W>
SINTER_INLINE void embed(const Launch* launch, const W& w, const StepRow* rows, float* out) {
  const Range mine = share(launch->step->rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r) {
    const index row = table_row<ByPosition, Rows>(rows[r]);
    w.template decode<Width>(row / tile_rows, row % tile_rows, row, out + r * Width);
  }
}

// A prologue: the rows of the table as out of embed().
template <int Width, class W, bool ByPosition, int Rows>
struct TableRows {
  W w;
  const StepRow* rows;
  struct State {
    float row[Width + lanes];  // elementwise work on the last columns reads a whole vector
  };

  static constexpr int cols = Width;
  inline State begin(index r) const {
    State state;
    const index row = table_row<ByPosition, Rows>(rows[r]);
    w.template decode<Width>(row / tile_rows, row % tile_rows, row, state.row);
    return state;
  }
  inline f32x16 at(index, const State& state, index k) const { return load(state.row + k); }
  inline float scalar(index, const State& state, index k) const { return state.row[k]; }
};

// out [rows, 2 * Half]: cos in the first half, sin in the second, of the row's position * inv_freq,
// both times scale and what grows with the position.
template <int Half, class Growth = NoGrowth>
SINTER_INLINE void rope_table(const Launch* launch, const float* inv_freq, float scale, float* out,
                              const Growth& growth = {}) {
  const Range mine = share(launch->step->rows, launch->worker, launch->workers);
  for (index r = mine.begin; r < mine.end; ++r) {
    const float position = static_cast<float>(step_rows(launch)[r].position);
    const float factor = scale * growth.at(step_rows(launch)[r].position);
    float* row = out + r * 2 * Half;
    for (index i = 0; i < Half; i += lanes) {
      f32x16 cosine;
      f32x16 sine;
      cos_sin(load(inv_freq + i) * position, &cosine, &sine);
      store(row + i, cosine * factor, Half - i);
      store(row + Half + i, sine * factor, Half - i);
    }
  }
}

}  // namespace sinter
