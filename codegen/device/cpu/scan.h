// Selective scans along the rows of a sequence.
#pragma once

#include "cpu/activations.h"
#include "scan_shape.h"

namespace sinter {

// Rows of a sequence that are worked on together: while they are, the states of some channels stay
// in the first cache.
constexpr int scan_rows = 16;

// b and c of a group, of some rows of a sequence.
template <class S>
struct ScanRows {
  alignas(64) float b[scan_rows][S::run];
  alignas(64) float c[scan_rows][S::run];

  // Columns, and zeros behind them: so the state keeps its own.
  template <class Prologue>
  static SINTER_MEMBER void write(float (&to)[S::run], index r, const Prologue& p) {
    write_floats<S::columns>(to, r, p);
    for (int i = S::columns; i < S::run; ++i) to[i] = 0;
  }
};

// Of up to 16 channels of a row: x, the step of each, and what its state is multiplied by, unless
// that differs from column to column.
struct ScanInputs {
  f32x16 x;
  f32x16 step;
  f32x16 decay;
};

// Decay rates of columns j.. of a head; 0 behind the last.
template <class S, class A>
SINTER_INLINE f32x16 scan_rates(const A* a, index head, int j) {
  const A* const row = a + head * S::columns + j;
  if (S::columns % lanes == 0 || j + lanes <= S::columns) return load(row);
  f32x16 rates = splat(0.0F);
  for (int i = 0; i < S::columns - j; ++i) rates[i] = load_scalar(row + i);
  return rates;
}

// A row for `Count` channels from number i of 16 on, whose first is `channel`:
// S = e^(step a) S + step x b^T, y = S c.
template <int Count, class S, class A>
SINTER_INLINE void scan_step(float* s, const float* b, const float* c, const ScanInputs& in,
                             const A* a, index channel, int i, f32x16& y) {
  f32x16 sums[Count];
  f32x16 input[Count];
  for (int n = 0; n < Count; ++n) {
    sums[n] = splat(0.0F);
    input[n] = splat(in.step[i + n] * in.x[i + n]);
  }
  for (int j = 0; j < S::run; j += lanes) {
    const f32x16 to = load(b + j);
    const f32x16 from = load(c + j);
    for (int n = 0; n < Count; ++n) {
      f32x16 decay = splat(in.decay[i + n]);
      if constexpr (S::by_column)
        decay = exp(in.step[i + n] * scan_rates<S>(a, S::head(channel + i + n), j));
      const f32x16 updated = fma(input[n], to, load(s + n * S::run + j) * decay);
      store_unaligned(s + n * S::run + j, updated);
      sums[n] = fma(updated, from, sums[n]);
    }
  }
  for (int n = 0; n < Count; ++n) y[i + n] = reduce_add(sums[n]);
}

// x and step give 16 columns of a row: step(row, head, heads left), x(row, channel, channels left).
// b and c are rows of groups, a and d vectors; after(row, channel, channels left, y) takes what the
// scan gives. A worker has some channels of sequences.
template <class S, class X, class Step, class B, class C, class A, class D, class After>
SINTER_INLINE void selective_scan(const Launch* launch, const typename S::State& state, const X& x,
                                  const Step& step, const B& b, const C& c, const A* a, const D* d,
                                  const After& after) {
  constexpr int together = 4;  // channels whose sums are under way at once
  constexpr index vectors = (S::group_channels + lanes - 1) / lanes;  // of a group
  constexpr index units = S::groups * vectors;                        // of a sequence
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  index sequences = 0;
  for (index r = 0; r < rows; ++r)
    sequences += r == 0 || table[r].sequence != table[r - 1].sequence ? 1 : 0;
  const Range mine = share(sequences * units, launch->worker, launch->workers);
  ScanRows<S> part;
  index first = 0;  // row of the sequence
  for (index unit = 0; unit < mine.end && first < rows; unit += units) {
    index end = first + 1;
    while (end < rows && table[end].sequence == table[first].sequence) ++end;
    for (index group = 0; group < S::groups; ++group) {
      const index here = unit + group * vectors;
      const index begin_vector = here < mine.begin ? mine.begin - here : 0;
      const index end_vector = here + vectors < mine.end ? vectors : mine.end - here;
      if (begin_vector >= end_vector) continue;
      for (index begin = first; begin < end; begin += scan_rows) {
        const int count = static_cast<int>(end - begin < scan_rows ? end - begin : scan_rows);
        for (int t = 0; t < count; ++t) {
          ScanRows<S>::write(part.b[t], (begin + t) * S::groups + group, b);
          ScanRows<S>::write(part.c[t], (begin + t) * S::groups + group, c);
        }
        for (index v = begin_vector; v < end_vector; ++v) {
          const index channel = group * S::group_channels + v * lanes;
          const index left = S::group_channels - v * lanes;
          const int width = static_cast<int>(left < lanes ? left : lanes);
          float* const s = state.run(table[first].sequence, channel);
          const index head = S::head(channel);
          f32x16 rates = splat(0.0F);
          f32x16 skips = splat(0.0F);
          for (int i = 0; i < width; ++i) {
            if constexpr (!S::by_column) rates[i] = load_scalar(a + S::head(channel + i));
            if constexpr (S::skips) skips[i] = load_scalar(d + S::head(channel + i));
          }
          for (int t = 0; t < count; ++t) {
            const index row = begin + t;
            ScanInputs in{x(row, channel, width), splat(0.0F), splat(0.0F)};
            const f32x16 steps = step(row, head, S::heads - head);
            if constexpr (S::head_dim == 1) {
              in.step = steps;
            } else {
              for (int i = 0; i < width; ++i) in.step[i] = steps[S::head(channel + i) - head];
            }
            if constexpr (!S::by_column) in.decay = exp(in.step * rates);
            f32x16 y = splat(0.0F);
            int i = 0;
            for (; i + together <= width; i += together)
              scan_step<together, S>(s + i * S::run, part.b[t], part.c[t], in, a, channel, i, y);
            for (; i < width; ++i)
              scan_step<1, S>(s + i * S::run, part.b[t], part.c[t], in, a, channel, i, y);
            if constexpr (S::skips) y = fma(skips, in.x, y);
            after(row, channel, width, y);
          }
        }
      }
    }
    first = end;
  }
}

}  // namespace sinter
