// Attention of many rows, in two phases.
#pragma once

#include "gpu/attention_many_lanes.h"
#include "gpu/attention_many_matrix.h"

namespace sinter {

// First phase: q is transformed into `queries` [rows][heads][qk_head_dim], times log2(e), k and v
// go to the caches. A wave takes a head, a block as many heads of a row; the transforms run in
// shared memory.
template <class C, class Q, class K, class V>
SINTER_INLINE void attention_append(const Launch* launch, const C& caches, const Q& q, const K& k,
                                    const V& v, float scale, float* queries) {
  float* const row = reinterpret_cast<float*>(shared_memory()) + wave() * C::key_dim;
  float* const scratch = reinterpret_cast<float*>(shared_memory()) + waves * C::key_dim;
  constexpr int all_heads = C::heads + (appends<K> ? C::kv_heads : 0);
  constexpr int rounds_of_row = (all_heads + waves - 1) / waves;
  for (index unit = launch->worker; unit < launch->step->rows * index{rounds_of_row};
       unit += launch->workers) {
    const index t = unit / rounds_of_row;
    const int h = static_cast<int>(unit % rounds_of_row) * waves + wave();
    const StepRow step = step_rows(launch)[t];
    const C c = caches.of(launch, step.sequence);
    const float q_factor = q.row_factor(t, scratch);
    float k_factor = 1;
    if constexpr (appends<K>) k_factor = k.row_factor(t, scratch + waves);
    if (h < C::heads) {
      typename Q::Head head;
      q.fetch_constants(t, head);
      q.fetch(t, h, head);
      q.apply(head, q_factor, scale * log2_e, row);
    } else if constexpr (appends<K>) {
      if (h < all_heads) {
        typename K::Head head;
        k.fetch_constants(t, head);
        k.fetch(t, h - C::heads, head);
        k.apply(head, k_factor, 1.0F, row);
      }
    }
    barrier();
    if (h < C::heads) {
      for (int i = lane(); i < C::qk_head_dim; i += wave_size)
        queries[(t * C::heads + h) * C::qk_head_dim + i] = row[i];
    } else if constexpr (appends<K>) {
      if (h < all_heads) {
        const int kv = h - C::heads;
        float value[run];
        c.fetch_value(v.rows.head(t, kv), value);
        v.normalize(value);
        c.append(kv, step.position, row, value);
      }
    }
    barrier();
  }
}

// Second phase.
template <class C>
constexpr int attention_rows_shared_bytes = C::shape.many_rows_shared_bytes(HalfTile<C>::fits);
template <class C>
SINTER_INLINE void attention_rows(const Launch* launch, const C& caches, const float* queries,
                                  float* out) {
  if constexpr (HalfTile<C>::fits) {
    attention_by_tiles(launch, caches, queries, out);
  } else {
    attention_by_lanes(launch, caches, queries, out);
  }
}

}  // namespace sinter
