// The gated delta rule along the rows of a sequence.
#pragma once

#include "cpu/activations.h"
#include "delta_heads.h"

namespace sinter {

// Rows of a sequence that are worked on together: while they are, rows of the state stay in the
// first cache.
constexpr int delta_rows = 8;

// What a head of v needs of some rows of a sequence.
template <class H>
struct DeltaRows {
  static constexpr int value_run = static_cast<int>(sizes::round_up(H::value_dim, lanes));
  alignas(64) float q[delta_rows][H::run];
  alignas(64) float k[delta_rows][H::run];
  alignas(64) float decay[delta_rows][H::run];
  alignas(64) float decayed[delta_rows][H::run];  // k times the decay: S decay k = S (decay k)
  alignas(64) float v[delta_rows][value_run];
  float beta[delta_rows];

  // Features, and zeros behind them: so the state keeps its own.
  template <class Prologue>
  static SINTER_MEMBER void write(float (&to)[H::run], index r, const Prologue& p) {
    write_floats<H::key_dim>(to, r, p);
    for (int i = H::key_dim; i < H::run; ++i) to[i] = 0;
  }
  // Element `h` of what f gives for 16 heads of row t at a time.
  template <class F>
  static SINTER_MEMBER float of_head(const F& f, index t, index h) {
    const index first = h / lanes * lanes;
    return f(t, first, H::heads - first)[h % lanes];
  }

  template <class Q, class K, class V, class Decay, class Beta>
  SINTER_MEMBER void fill(int at, index t, index h, const Q& queries, const K& keys,
                          const V& values, const Decay& decays, const Beta& betas) {
    write(q[at], H::key_row(t, h), queries);
    write(k[at], H::key_row(t, h), keys);
    write_floats<H::value_dim>(v[at], t * H::heads + h, values);
    if constexpr (Decay::by_feature) {
      write(decay[at], t * H::heads + h, decays.log);
      for (int i = 0; i < H::run; i += lanes)
        store_unaligned(decay[at] + i, exp(load(decay[at] + i)));
    } else {
      const f32x16 factor = exp(splat(of_head(decays.log, t, h)));
      for (int i = 0; i < H::run; i += lanes) store_unaligned(decay[at] + i, factor);
    }
    for (int i = 0; i < H::run; i += lanes)
      store_unaligned(decayed[at] + i, load(k[at] + i) * load(decay[at] + i));
    beta[at] = of_head(betas, t, h);
  }
};

// Row t of them for `Count` rows of the state, from number i on:
// S = S decay, S = S + beta (v - S k) k^T, y = S q.
template <int Count, class H>
SINTER_INLINE void delta_step(float* s, const DeltaRows<H>& rows, int t, int i, float* y) {
  constexpr int run = H::run;
  f32x16 sums[Count];
  for (int n = 0; n < Count; ++n) sums[n] = splat(0.0F);
  for (int j = 0; j < run; j += lanes) {
    const f32x16 key = load(rows.decayed[t] + j);
    for (int n = 0; n < Count; ++n) sums[n] = fma(load(s + n * run + j), key, sums[n]);
  }
  float delta[Count];
  for (int n = 0; n < Count; ++n) {
    delta[n] = (rows.v[t][i + n] - reduce_add(sums[n])) * rows.beta[t];
    sums[n] = splat(0.0F);
  }
  for (int j = 0; j < run; j += lanes) {
    const f32x16 key = load(rows.k[t] + j);
    const f32x16 query = load(rows.q[t] + j);
    const f32x16 factor = load(rows.decay[t] + j);
    for (int n = 0; n < Count; ++n) {
      const f32x16 updated = fma(splat(delta[n]), key, load(s + n * run + j) * factor);
      store_unaligned(s + n * run + j, updated);
      sums[n] = fma(updated, query, sums[n]);
    }
  }
  for (int n = 0; n < Count; ++n) y[n] = reduce_add(sums[n]);
}

// q, k and v are rows of heads; log_decay and beta functions of (row, head, heads left). `y` has
// [rows, heads, value_dim]; `after` is called for each of its rows of heads. A worker has whole
// heads of sequences.
template <class H, class Q, class K, class V, class Decay, class Beta, class After>
SINTER_INLINE void delta_rule(const Launch* launch, const typename H::State& state, const Q& q,
                              const K& k, const V& v, const Decay& decay, const Beta& beta,
                              float* y, const After& after) {
  constexpr int value_dim = H::value_dim;
  constexpr int together = 4;   // rows of the state, whose sums are under way at once
  constexpr int in_cache = 16;  // and those that all rows go over, one after another
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  index sequences = 0;
  for (index r = 0; r < rows; ++r)
    sequences += r == 0 || table[r].sequence != table[r - 1].sequence ? 1 : 0;
  const Range mine = share(sequences * H::heads, launch->worker, launch->workers);
  DeltaRows<H> part;
  index first = 0;  // row of the sequence
  for (index unit = 0; unit < mine.end && first < rows; unit += H::heads) {
    index end = first + 1;
    while (end < rows && table[end].sequence == table[first].sequence) ++end;
    for (index h = unit < mine.begin ? mine.begin - unit : 0; h < H::heads && unit + h < mine.end;
         ++h) {
      float* const s = state.run(table[first].sequence, h * value_dim);
      for (index begin = first; begin < end; begin += delta_rows) {
        const int count = static_cast<int>(end - begin < delta_rows ? end - begin : delta_rows);
        for (int t = 0; t < count; ++t) part.fill(t, begin + t, h, q, k, v, decay, beta);
        for (int block = 0; block < value_dim; block += in_cache)
          for (int t = 0; t < count; ++t) {
            float* const out = y + ((begin + t) * H::heads + h) * value_dim;
            int i = block;
            for (; i + together <= value_dim && i < block + in_cache; i += together)
              delta_step<together>(s + i * H::run, part, t, i, out + i);
            if constexpr (value_dim % together > 0)
              if (i < block + in_cache)
                delta_step<value_dim % together>(s + i * H::run, part, t, i, out + i);
          }
        for (int t = 0; t < count; ++t) after((begin + t) * H::heads + h);
      }
    }
    first = end;
  }
}

}  // namespace sinter
