// Short causal convolutions along the rows of a sequence, one for each channel.
#pragma once

#include "gpu/math.h"
#include "gpu/weights.h"
#include "step.h"

namespace sinter {

// Rows of the sequence of row r that stand right before it in the step; no more than `most` are
// counted.
SINTER_INLINE int rows_before(const StepRow* table, index r, int most) {
  int count = 0;
  while (count < most && r > count && table[r - count - 1].sequence == table[r].sequence) ++count;
  return count;
}

// The row behind the last of the sequence of row r, whose rows stand together.
SINTER_INLINE index end_of_sequence(const StepRow* table, index r, index rows) {
  index last = r;
  index end = rows;
  while (end - last > 1) {
    const index middle = last + (end - last) / 2;
    (table[middle].sequence == table[r].sequence ? last : end) = middle;
  }
  return end;
}

// y[r, c] = sum over j of w[c, j] x(input j of row r, c), the oldest input first; the last is row
// r itself, those before are rows of its sequence or, before the step's, its state, which then has
// the last ones. x(row, channel, channels left) gives a number, epilogue(row, channel, channels
// left, y) takes one.
//
// A thread has a channel of `Together` rows. Those that read the state of a sequence, the first
// taps - 1 of its rows, all go to the thread that has the first of them, and it writes the state:
// nobody else touches it. Inputs that another thread has, too, are computed again.
template <int Channels, int Together, class W, class Inputs, class X, class Epilogue>
SINTER_INLINE void convolve(const Launch* launch, const W& w, const Inputs& before, const X& x,
                            const Epilogue& epilogue) {
  constexpr int taps = W::cols;
  constexpr index blocks = (Channels + threads - 1) / threads;
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  const index units = (rows + Together - 1) / Together * blocks;
  for (index unit = launch->worker; unit < units; unit += launch->workers) {
    const index c = unit % blocks * threads + thread();
    const index n = Channels - c;
    if (n <= 0) continue;
    float tap[taps];
#pragma clang loop unroll(full)
    for (int j = 0; j < taps; ++j) tap[j] = w.at(c, j);
    const index begin = unit / blocks * Together;
    const index end = begin + Together < rows ? begin + Together : rows;
    for (index r = begin; r < end;) {
      const int sequence = table[r].sequence;
      const int known = rows_before(table, r, taps - 1);
      if (known > 0 && known < taps - 1) {  // the thread that has its first row has this one
        ++r;
        continue;
      }
      const bool is_first = known == 0;
      float inputs[taps];  // of the row, the newest last
#pragma clang loop unroll(full)
      for (int j = 1; j < taps; ++j)
        inputs[j] = is_first ? before.run(sequence, j - 1)[c] : x(r - taps + j, c, n);
      index stop = is_first && end < r + taps - 1 ? r + taps - 1 : end;
      if (stop > rows) stop = rows;
      for (; r < stop && table[r].sequence == sequence; ++r) {
#pragma clang loop unroll(full)
        for (int j = 1; j < taps; ++j) inputs[j - 1] = inputs[j];
        inputs[taps - 1] = x(r, c, n);
        float y = tap[0] * inputs[0];
#pragma clang loop unroll(full)
        for (int j = 1; j < taps; ++j) y = fma(tap[j], inputs[j], y);
        epilogue(r, c, n, y);
      }
      if (!is_first) continue;
      // Others may have the last rows; there are at least taps - 1.
      if (r < rows && table[r].sequence == sequence) {
        const index last = end_of_sequence(table, r, rows);
#pragma clang loop unroll(full)
        for (int j = 1; j < taps; ++j) inputs[j] = x(last - taps + j, c, n);
      }
#pragma clang loop unroll(full)
      for (int j = 1; j < taps; ++j) before.run(sequence, j - 1)[c] = inputs[j];
    }
  }
}

}  // namespace sinter
