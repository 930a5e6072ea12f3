// One row's attention over a run of cached positions, by lanes: some lanes have a position, 8
// features of its key and of its value each.
#pragma once

#include "gpu/attention_splits.h"
#include "gpu/caches.h"

namespace sinter {

constexpr int power_of_two(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

template <class C>
struct LaneAttention {
  static constexpr bool on_halves = false;
  static constexpr int heads_at_once = C::shape.heads_at_once(on_halves);
  static constexpr int query_bytes = 0;  // beside those in float32
  static constexpr int lanes_per_row = power_of_two(C::widest / run);
  static_assert(lanes_per_row <= wave_size, "heads of more than 256 features have no kernel");
  static constexpr int streams = threads / lanes_per_row;
  // Positions of a stream whose loads are under way together; of 4 bits the numbers, which all
  // heads take, would be more than a thread has registers for.
  static constexpr int batch = C::bits == 4 ? 2 : 4;
  static constexpr int positions = streams * batch;

  static __device__ int feature() { return thread() % lanes_per_row * run; }
  static __device__ bool has_key() { return feature() < C::key_dim; }
  static __device__ bool has_value() { return feature() < C::value_dim; }
  static __device__ int stream() { return thread() / lanes_per_row; }
  static SINTER_MEMBER void keep_query(const float*, int, u8*) {}

  // This thread's part of the positions from `base` on, `positions` of them at most.
  struct Batch {
    typename C::Run keys[batch];
    typename C::Run values[batch];

    SINTER_MEMBER void read(const C& c, index kv_head, index base, index end, u8*) {
#pragma clang loop unroll(full)
      for (int b = 0; b < batch; ++b) {
        const index p = base + b * streams + stream();
        keys[b] = {};
        values[b] = {};
        if (p < end && has_key()) keys[b] = c.key(kv_head, p).read(0, feature());
        if (p < end && has_value()) values[b] = c.value(kv_head, p).read(0, feature());
      }
    }
    SINTER_MEMBER void read_again(const C& c, index kv_head, index base, index end, u8* place) {
      read(c, kv_head, base, end, place);
    }
  };

  // Queries of `Heads` heads, [Heads][widest] in shared memory, over positions begin..end-1, of
  // which `next` holds the first and those before `seen` do not count. The result is in `place`,
  // this wave's, as [Heads][value_dim + 2].
  template <int Heads>
  static SINTER_MEMBER void attend(const C& c, index kv_head, const float* queries, const u8*,
                                   index begin, index end, index seen, Batch next, u8* place) {
    float query[Heads][run];
    Softmax<run> s[Heads];
#pragma clang loop unroll(full)
    for (int h = 0; h < Heads; ++h)
#pragma clang loop unroll(full)
      for (int i = 0; i < run; ++i)
        query[h][i] = has_key() ? queries[h * C::widest + feature() + i] : 0.0F;
    // Every lane takes part in every round: sums cross lanes. The next positions are under way
    // meanwhile.
    for (index base = begin; base < end; base += positions) {
      const Batch now = next;
      next.read(c, kv_head, base + positions, end, place);
#pragma clang loop unroll(full)
      for (int h = 0; h < Heads; ++h) {
        float score[batch];
        float most = s[h].top;
#pragma clang loop unroll(full)
        for (int b = 0; b < batch; ++b) {
          float sum = 0;
#pragma clang loop unroll(full)
          for (int i = 0; i < run; ++i) sum = fma(query[h][i], now.keys[b].at(i), sum);
          sum = sum_lanes<lanes_per_row>(now.keys[b].scaled(sum));
          const index p = base + b * streams + stream();
          score[b] = p < end && is_seen<C>(p, seen) ? capped<C>(sum) : masked;
          most = larger(most, score[b]);
        }
        const float keep = exp2(s[h].top - most);
        s[h].top = most;
        s[h].total *= keep;
#pragma clang loop unroll(full)
        for (int i = 0; i < run; ++i) s[h].out[i] *= keep;
#pragma clang loop unroll(full)
        for (int b = 0; b < batch; ++b) {
          const float weight = score[b] <= 0.5F * masked ? 0.0F : exp2(score[b] - most);
          s[h].total += weight;
          const float factor = now.values[b].scaled(weight);
#pragma clang loop unroll(full)
          for (int i = 0; i < run; ++i) s[h].out[i] = fma(factor, now.values[b].at(i), s[h].out[i]);
        }
      }
    }
    // The streams of a wave.
#pragma clang loop unroll(full)
    for (int mask = lanes_per_row; mask < wave_size; mask *= 2)
#pragma clang loop unroll(full)
      for (int h = 0; h < Heads; ++h) {
        float out[run];
#pragma clang loop unroll(full)
        for (int i = 0; i < run; ++i) out[i] = shuffle_xor(s[h].out[i], mask);
        const float top = shuffle_xor(s[h].top, mask);
        const float total = shuffle_xor(s[h].total, mask);
        s[h].merge(top, total, out);
      }
    if (lane() >= lanes_per_row || !has_value()) return;
#pragma clang loop unroll(full)
    for (int h = 0; h < Heads; ++h) {
      float* const to = reinterpret_cast<float*>(place) + h * (C::value_dim + 2);
      if (feature() == 0) {
        to[0] = s[h].top;
        to[1] = s[h].total;
      }
#pragma clang loop unroll(full)
      for (int i = 0; i < run; ++i) to[2 + feature() + i] = s[h].out[i];
    }
  }
};

}  // namespace sinter
