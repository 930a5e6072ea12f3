// Short causal convolutions along the rows of a sequence, one for each channel.
#pragma once

#include "cpu/math.h"
#include "cpu/weights.h"
#include "step.h"

namespace sinter {

// y[r, c] = sum over j of w[c, j] x(input j of row r, c), the oldest input first; the last is row
// r itself, those before are rows of its sequence or, before the step's, its state, which then has
// the last ones. x(row, channel, channels left) gives 16 channels, epilogue(row, channel, channels
// left, y) takes them. A worker has all rows of its channels.
template <int Channels, class W, class Inputs, class X, class Epilogue>
SINTER_INLINE void convolve(const Launch* launch, const W& w, const Inputs& before, const X& x,
                            const Epilogue& epilogue) {
  constexpr int taps = W::cols;
  constexpr index vectors = (Channels + lanes - 1) / lanes;
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  const Range mine = share(vectors, launch->worker, launch->workers);
  for (index v = mine.begin; v < mine.end; ++v) {
    const index c = v * lanes;
    const index n = Channels - c;
    f32x16 tap[taps];
    for (int j = 0; j < taps; ++j) tap[j] = w.column(v, j);
    for (index r = 0; r < rows;) {
      const int sequence = table[r].sequence;
      f32x16 inputs[taps];  // of the row, the newest last
      for (int j = 1; j < taps; ++j) inputs[j] = load(before.run(sequence, j - 1) + c);
      for (; r < rows && table[r].sequence == sequence; ++r) {
        for (int j = 1; j < taps; ++j) inputs[j - 1] = inputs[j];
        inputs[taps - 1] = x(r, c, n);
        f32x16 y = tap[0] * inputs[0];
        for (int j = 1; j < taps; ++j) y = fma(tap[j], inputs[j], y);
        epilogue(r, c, n, y);
      }
      for (int j = 1; j < taps; ++j) store(before.run(sequence, j - 1) + c, inputs[j], n);
    }
  }
}

}  // namespace sinter
