// Attention of few rows, each to the bits that it has alone: transforms, append, attention and, if
// what comes next can take it, quantization in one phase. A block has a split of the positions of
// one KV head of a row. What the phase waits for is mostly the way to memory and back, so whatever
// can be under way together is.
//
// A row's own key and value meet its queries in float32, as they are cached. Those of the rows
// before it in the same step and sequence come to the cache by every block that reads them, the
// same bytes each time, so that they are like any others. Where another phase of the step has
// appended all of them, the row's own come from the cache.
#pragma once

#include "gpu/attention_few_lanes.h"
#include "gpu/attention_few_matrix.h"

namespace sinter {

template <int N>
struct Count {
  static constexpr int value = N;
};

template <class C, bool = MatrixAttention<C>::fits>
struct FewAttention : LaneAttention<C> {};
template <class C>
struct FewAttention<C, true> : MatrixAttention<C> {};

// A block's shared memory.
template <class C>
struct FewShared {
  using Attention = FewAttention<C>;
  static constexpr int at_once = Attention::heads_at_once;
  static constexpr int group_floats = sizes::round_up(C::group, 4);
  // Of a wave: what it needs while it attends, then the result [at_once][value_dim + 2].
  static constexpr int place_bytes = C::shape.place_bytes(Attention::on_halves);
  static_assert(place_bytes % 16 == 0 && Attention::query_bytes % 16 == 0);
  static constexpr int bytes = C::shape.few_rows_shared_bytes(Attention::on_halves, waves);
  u8* places;      // of the waves
  u8* kept;        // queries that are attended together, in the form that they are multiplied in
  float* queries;  // [group][widest], times log2(e); then the results
  float* key;      // [key_dim], of the row itself, as it is cached
  float* value;    // [value_dim], the same
  float* fresh;    // [waves][key_dim]
  float* scores;   // [group], of the row itself
  float* scratch;  // [2][waves]

  static SINTER_MEMBER FewShared of(u8* base) {
    FewShared s;
    s.places = base;
    s.kept = base + waves * place_bytes;
    s.queries = reinterpret_cast<float*>(s.kept + Attention::query_bytes);
    s.key = s.queries + C::group * C::widest;
    s.value = s.key + C::key_dim;
    s.fresh = s.value + C::value_dim;
    s.scores = s.fresh + waves * C::key_dim;
    s.scratch = s.scores + group_floats;
    return s;
  }
  SINTER_MEMBER u8* place() const { return places + wave() * place_bytes; }
  SINTER_MEMBER const float* partials() const { return reinterpret_cast<const float*>(places); }
};

// A split of the positions of a KV head of a row. `end` is behind those that are cached: the row's
// own is not among them.
template <class C, bool OneRow, bool Appends>
struct FewUnit {
  int number, units;
  int t, head, split;
  int position, sequence;  // of the row
  int splits;              // of its positions
  int begin, end;
  int seen;   // the first position that the row sees, less than split_step behind the first split's
  int known;  // positions that are cached before the phase, but for the row's own

  // The first from `number` on that has positions, every launch->workers. The first splits of all
  // rows come first: there is one of each.
  static SINTER_MEMBER FewUnit from(const Launch* launch, int number, int units) {
    FewUnit u;
    u.units = units;
    const StepRow* const rows = step_rows(launch);
    const int pairs = OneRow ? C::kv_heads : launch->step->rows * C::kv_heads;
    Splits<C> splits = {};
    for (; number < units; number += launch->workers) {
      u.t = OneRow ? 0 : number % pairs / C::kv_heads;
      u.split = number / pairs;
      u.position = rows[u.t].position;
      splits = Splits<C>::of(u.position + 1);
      if (u.split < splits.count) break;
    }
    u.number = number;
    if (!u.exists()) return u;
    u.head = number % C::kv_heads;
    u.sequence = rows[u.t].sequence;
    u.splits = splits.count;
    u.begin = splits.begin(u.split);
    u.seen = splits.seen;
    u.end = u.last() ? u.position : splits.end(u.split);
    u.known = u.position;
    if constexpr (Appends)
      for (int r = u.t - 1; r >= 0 && rows[r].sequence == u.sequence; --r) --u.known;
    return u;
  }
  SINTER_MEMBER bool exists() const { return number < units; }
  // Whether it has the row's own position.
  SINTER_MEMBER bool last() const { return split + 1 == splits; }
  SINTER_MEMBER FewUnit next(const Launch* launch) const {
    return from(launch, number + launch->workers, units);
  }
  // The row of the step that has a position which was not known before.
  SINTER_MEMBER int row_of(int of) const { return t - (position - of); }
};

// As many units as there are if all rows have the most splits that rows up to the longest one's
// length have.
template <class C, bool OneRow>
SINTER_INLINE int few_units(const Launch* launch) {
  if constexpr (OneRow) return C::kv_heads * Splits<C>::of(step_rows(launch)->position + 1).count;
  const int rows = launch->step->rows;
  int longest = 0;
  for (int r = lane(); r < rows; r += wave_size)
    longest = step_rows(launch)[r].position > longest ? step_rows(launch)[r].position : longest;
#pragma clang loop unroll(full)
  for (int mask = 1; mask < wave_size; mask *= 2) {
    const int other = shuffle_xor(longest, mask);
    longest = other > longest ? other : longest;
  }
  return rows * C::kv_heads * Splits<C>::most_of(longest + 1);
}

// Where results go: float32 [rows][heads][v_head_dim].
template <class C>
struct FloatResults {
  float* out;

  // Feature d of head `i` of the group of a KV head.
  SINTER_MEMBER void put(const FewShared<C>&, int t, int kv_head, int i, int d, float x) const {
    if (d < C::v_head_dim)
      out[(index{t} * C::heads + kv_head * C::group + i) * C::v_head_dim + d] = x;
  }
  SINTER_MEMBER void finish(const FewShared<C>&, int, int) const {}
};

// Rows as the product that reads them takes them.
template <class C, class X>
struct QuantizedResults {
  X rows;
  static constexpr int cols = C::group * C::v_head_dim;  // of a KV head
  static_assert(X::group > 0 && cols % X::group == 0 && X::cols % block_cols == 0);

  SINTER_MEMBER void put(const FewShared<C>& shared, int, int, int i, int d, float x) const {
    if (d < C::v_head_dim) shared.queries[i * C::v_head_dim + d] = x;
  }
  // By the whole block.
  SINTER_MEMBER void finish(const FewShared<C>& shared, int t, int kv_head) const {
    barrier();
#pragma clang loop unroll(disable)
    for (int first = 0; first < cols; first += threads * held) {
      const int k = first + thread() * held;
      Held x = {};
      if (k < cols)
#pragma clang loop unroll(full)
        for (int j = 0; j < held; ++j) x.v[j] = shared.queries[k + j];
      rows.write_held(t, k < cols ? kv_head * cols + k : X::cols, x);
    }
  }
};

template <bool OneRow, class C, class Q, class K, class V, class Results>
SINTER_INLINE void attention_few(const Launch* launch, const C& caches, const Q& q, const K& k,
                                 const V& v, float scale, unsigned char* split_base,
                                 const Results& results) {
  using Attention = FewAttention<C>;
  constexpr int at_once = Attention::heads_at_once;
  auto unit =
      FewUnit<C, OneRow, appends<K>>::from(launch, launch->worker, few_units<C, OneRow>(launch));
  if (!unit.exists()) await_phases();
  for (; unit.exists(); unit = unit.next(launch)) {
    const auto shared = FewShared<C>::of(shared_memory_again());
    const C c = caches.of(launch, unit.sequence);
    const int t = unit.t;
    const int kv_head = unit.head;
    // Waves take rows: the query heads, then the row's own key.
    const int rows = unit.last() ? C::group + 1 : C::group;
    typename Q::Head query = {};
    typename K::Head key = {};
    typename Attention::Batch batch = {};
    float value[run] = {};
    // The phase before writes q, k and v. The table, the step and what earlier steps cached are
    // there. What the unit before left in shared memory has been read.
    if (unit.number != launch->worker) barrier();
    q.fetch_constants(t, query);
    if constexpr (appends<K>)
      if (wave() == C::group % waves) k.fetch_constants(t, key);
    batch.read(c, kv_head, unit.begin, unit.end < unit.known ? unit.end : unit.known,
               shared.place());
    await_phases();

    const auto keep_in = [](float* to) __attribute__((always_inline)) {
      return [to](int feature, const typename C::Run& x) __attribute__((always_inline)) {
#pragma clang loop unroll(full)
        for (int j = 0; j < run; ++j) to[feature + j] = x.scaled(x.at(j));
      };
    };
    const auto fetch = [&](int i) __attribute__((always_inline)) {
      if (i < C::group) {
        q.fetch(t, kv_head * C::group + i, query);
      } else if constexpr (appends<K>) {
        if (i < rows) {
          k.fetch(t, kv_head, key);
          c.fetch_value(v.rows.head(t, kv_head), value);
        }
      }
    };
    fetch(wave());
    const float q_factor = q.row_factor(t, shared.scratch);
    float k_factor = 1;
    if constexpr (appends<K>) k_factor = k.row_factor(t, shared.scratch + waves);
    for (int i = wave(); i < rows; i += waves) {
      if (i >= waves) fetch(i);
      float* const row = i < C::group ? shared.queries + i * C::widest : shared.key;
      if (i < C::group) {
        q.apply(query, q_factor, scale * log2_e, row);
      } else if constexpr (appends<K>) {
        k.apply(key, k_factor, 1.0F, row);
      }
      for (int d = C::qk_head_dim + again(lane()); d < C::key_dim; d += wave_size) row[d] = 0;
      wave_barrier();
      if (i < at_once) Attention::keep_query(row, i, shared.kept);
      if (i == C::group) {
        if constexpr (appends<K>) {
          v.normalize(value);
          c.append(kv_head, unit.position, row, value, keep_in(shared.key), keep_in(shared.value));
        } else {
          c.recall(kv_head, unit.position, keep_in(shared.key), keep_in(shared.value));
        }
      }
    }
    // Positions of the split that this step adds before the row.
    const int fresh = unit.begin > unit.known ? unit.begin : unit.known;
    if constexpr (!OneRow && appends<K>) {
#pragma clang loop unroll(disable)
      for (int p = fresh; p < unit.end; ++p) {
        const int r = unit.row_of(p);
        if constexpr (K::of_row) barrier();
        const float factor = k.row_factor(r, shared.scratch);
        if (wave() == (p - fresh) % waves) {
          float* const row = shared.fresh + wave() * C::key_dim;
          k.fetch_constants(r, key);
          k.fetch(r, kv_head, key);
          c.fetch_value(v.rows.head(r, kv_head), value);
          k.apply(key, factor, 1.0F, row);
          v.normalize(value);
          wave_barrier();
          c.append(kv_head, p, row, value);
          wave_barrier();
        }
      }
    }
    barrier();
    if (!OneRow && appends<K> && fresh < unit.end)
      batch.read_again(c, kv_head, unit.begin, unit.end, shared.place());
    if (unit.last()) {
      // The last waves have no positions where there are few.
      for (int i = waves - 1 - wave(); i < C::group; i += waves) {
        float sum = 0;
        for (int d = again(lane()); d < C::key_dim; d += wave_size)
          sum = fma(shared.queries[i * C::widest + d], shared.key[d], sum);
        sum = sum_lanes<wave_size>(sum);
        if (lane() == 0) shared.scores[i] = capped<C>(sum);
      }
    }

    const auto buffers = SplitBuffers<C>::at(split_base + index{t} * SplitBuffers<C>::bytes);
    const auto attend = [&](auto heads, int first) __attribute__((always_inline)) {
      constexpr int count = decltype(heads)::value;
      if (first > 0) {
        if (Attention::query_bytes > 0) {
          for (int i = wave(); i < count; i += waves)
            Attention::keep_query(shared.queries + (first + i) * C::widest, i, shared.kept);
          barrier();
        }
        batch.read_again(c, kv_head, unit.begin, unit.end, shared.place());
      }
      Attention::template attend<count>(c, kv_head, shared.queries + first * C::widest, shared.kept,
                                        unit.begin, unit.end, unit.seen, batch, shared.place());
      barrier();
      for (int at = again(thread()); at < count * C::value_dim; at += threads) {
        const int i = at / C::value_dim;
        const int d = at % C::value_dim;
        Softmax<1> all;
        all.template merge_all<waves>(shared.partials() + i * (C::value_dim + 2), waves,
                                      FewShared<C>::place_bytes / 4, d);
        if (unit.last()) {
          all.merge(shared.scores[first + i], 1.0F, {shared.value[d]});
          if constexpr (C::has_sinks)
            all.merge(sink_score(c, kv_head * C::group + first + i), 1.0F, {0.0F});
        }
        if (unit.splits == 1) {
          results.put(shared, t, kv_head, first + i, d, all.out[0] / all.total);
          continue;
        }
        Handed* const to =
            buffers.of_head(kv_head * C::group + first + i) + unit.split * SplitBuffers<C>::row;
        to[2 + d].put(all.out[0]);
        if (d == 0) {
          to[0].put(all.top);
          to[1].put(all.total);
        }
      }
      if (first + count < C::group) barrier();
    };
    int first = 0;
#pragma clang loop unroll(disable)
    for (; first + at_once <= C::group; first += at_once) attend(Count<at_once>{}, first);
    if constexpr (C::group % at_once > 0) attend(Count<C::group % at_once>{}, first);

    // A head's last split waits for the others and brings all together: their blocks have started
    // before its own.
    if (!unit.last()) continue;
    if (unit.splits > 1) {
      // Two features to a thread where one would take several rounds.
      constexpr int width = C::group * C::value_dim > threads ? 2 : 1;
      for (int at = again(thread()) * width; at < C::group * C::value_dim; at += threads * width) {
        const int i = at / C::value_dim;
        const int d = at % C::value_dim;
        Handed* const rows = buffers.of_head(kv_head * C::group + i);
        Softmax<width> all;
        all.template merge_all<8>(rows, unit.splits, SplitBuffers<C>::row, d);
#pragma clang loop unroll(full)
        for (int j = 0; j < width; ++j)
          results.put(shared, t, kv_head, i, d + j, all.out[j] / all.total);
        for (int s = 0; s < unit.splits; ++s)
#pragma clang loop unroll(full)
          for (int j = 0; j < width; ++j) rows[s * SplitBuffers<C>::row + 2 + d + j].clear();
      }
      barrier();
      for (int at = again(thread()); at < C::group * unit.splits; at += threads) {
        Handed* const row = buffers.of_head(kv_head * C::group + at / unit.splits) +
                            at % unit.splits * SplitBuffers<C>::row;
        row[0].clear();
        row[1].clear();
      }
    }
    results.finish(shared, t, kv_head);
  }
}

}  // namespace sinter
