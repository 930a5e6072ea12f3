// Attention with what surrounds it: per-head norm and RoPE of q and k, append to the caches, causal
// softmax.
//
// Caches: gpu/caches.h.
#pragma once

#include "gpu/activations.h"
#include "gpu/caches.h"

namespace sinter {

// One of q, k, v: head h of row t is at base + t * stride + h * head_stride, its features one after
// another.
struct HeadRows {
  const float* base;
  index stride;
  index head_stride;
};

// What a norm goes over: a head, before or after its rotation; or `Cols` features of the row from
// `Begin` behind the first head on, where head h has the weights from First + h * Stride on.
struct OfHead {
  static constexpr int cols = 0, first = 0, stride = 0;
};
struct OfRotatedHead : OfHead {};
template <int Begin, int Cols, int First, int Stride>
struct OfRow {
  static constexpr int begin = Begin, cols = Cols, first = First, stride = Stride;
};

// What happens to a head of q or k before attention: norm, scale, rotation. RopeDims = 0: no
// rotation. A wave works on a head: first it fetches everything, so that all loads are under way
// together (what no phase just before has written may come earlier), then it applies. Norm: the
// element type of its weight; void: none.
template <int HeadDim, class Norm, int RopeDims, bool Interleaved, class NormOf = OfHead>
struct HeadTransform {
  const Norm* norm;  // [HeadDim], or of the row
  float eps;
  const float* table;  // [rows, RopeDims]: cos | sin

  static constexpr bool of_row = NormOf::cols > 0;
  static constexpr bool of_rotated = __is_same(NormOf, OfRotatedHead);
  static constexpr int half = RopeDims / 2;
  // Of a lane: features, and pairs that are rotated.
  static constexpr int features = (HeadDim + wave_size - 1) / wave_size;
  static constexpr int pairs = (half + wave_size - 1) / wave_size;
  struct Head {
    float x[features];
    float weight[features];
    float cosine[pairs + 1];  // one more: there may be none
    float sine[pairs + 1];
  };

  // What a norm over the row makes of all of its heads, by the whole block. `scratch`: as of
  // sum_block.
  __device__ __attribute__((always_inline)) float row_factor(const HeadRows& rows, index t,
                                                             float* scratch) const {
    if constexpr (of_row) {
      const float* const row = rows.base + t * rows.stride + NormOf::begin;
      float squares = 0;
      for (int i = thread(); i < NormOf::cols; i += threads) squares += row[i] * row[i];
      return inverse_root(sum_block(squares, scratch) / NormOf::cols + eps);
    } else {
      return 1.0F;
    }
  }
  __device__ __attribute__((always_inline)) void fetch_weights(index h, Head& head) const {
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) {
      const int i = j * wave_size + lane();
      if constexpr (!__is_void(Norm))
        head.weight[j] = i < HeadDim ? load(norm + NormOf::first + h * NormOf::stride + i) : 0.0F;
    }
  }
  // What is the same for all heads.
  __device__ __attribute__((always_inline)) void fetch_constants(index t, Head& head) const {
    if constexpr (!of_row) fetch_weights(0, head);
#pragma clang loop unroll(full)
    for (int j = 0; j < pairs; ++j) {
      const int i = j * wave_size + lane();
      if (i >= half) continue;
      head.cosine[j] = table[t * RopeDims + i];
      head.sine[j] = table[t * RopeDims + half + i];
    }
  }
  // Head h of row t.
  __device__ __attribute__((always_inline)) void fetch(const HeadRows& rows, index t, index h,
                                                       Head& head) const {
    const float* const in = rows.base + t * rows.stride + h * rows.head_stride;
    if constexpr (of_row) fetch_weights(h, head);
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) {
      const int i = j * wave_size + lane();
      head.x[j] = i < HeadDim ? in[i] : 0.0F;
    }
  }
  static __device__ __attribute__((always_inline)) float factor_of(const float (&x)[features],
                                                                   float eps) {
    float squares = 0;
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) squares += x[j] * x[j];
    return inverse_root(sum_lanes<wave_size>(squares) / HeadDim + eps);
  }
  // `out` is in shared memory.
  __device__ __attribute__((always_inline)) void apply(const Head& head, float row_factor,
                                                       float scale, float* out) const {
    float factor = of_rotated ? 1.0F : scale;
    if constexpr (of_row) {
      factor = scale * row_factor;
    } else if constexpr (!__is_void(Norm) && !of_rotated) {
      factor = scale * factor_of(head.x, eps);
    }
#pragma clang loop unroll(full)
    for (int j = 0; j < features; ++j) {
      const int i = j * wave_size + lane();
      float x = head.x[j] * factor;
      if constexpr (!__is_void(Norm) && !of_rotated) x *= head.weight[j];
      if (i < HeadDim) out[i] = x;
    }
    if constexpr (pairs > 0) wave_barrier();
#pragma clang loop unroll(full)
    for (int j = 0; j < pairs; ++j) {
      const int i = j * wave_size + lane();
      if (i >= half) continue;
      float* const a = out + (Interleaved ? 2 * i : i);
      float* const b = out + (Interleaved ? 2 * i + 1 : i + half);
      const float xa = *a;
      const float xb = *b;
      *a = xa * head.cosine[j] - xb * head.sine[j];
      *b = xb * head.cosine[j] + xa * head.sine[j];
    }
    if constexpr (of_rotated) {
      wave_barrier();
      float x[features];
#pragma clang loop unroll(full)
      for (int j = 0; j < features; ++j) {
        const int i = j * wave_size + lane();
        x[j] = i < HeadDim ? out[i] : 0.0F;
      }
      const float after = scale * factor_of(x, eps);
      wave_barrier();
#pragma clang loop unroll(full)
      for (int j = 0; j < features; ++j) {
        const int i = j * wave_size + lane();
        if (i < HeadDim) out[i] = x[j] * after * head.weight[j];
      }
    }
  }
};

constexpr float masked = -1e30F;

// Splits of the positions of one KV head among blocks: as many as large GPUs run at once, each of
// which reads ahead.
template <class C>
constexpr int most_splits = 128 / C::kv_heads < 1    ? 1
                            : 128 / C::kv_heads > 32 ? 32
                                                     : 128 / C::kv_heads;
constexpr int positions_per_split = 64;

template <class C>
struct SplitBuffers {
  static constexpr int row = C::dim + 2;
  static constexpr index bytes = (index{C::heads} * most_splits<C> * row + C::kv_heads) * 4;
  float* partials;  // [heads][most_splits][top, total, out...]
  int* arrived;     // [kv_heads], zero between phases

  static __device__ SplitBuffers at(unsigned char* base) {
    float* partials = reinterpret_cast<float*>(base);
    return {partials, reinterpret_cast<int*>(partials + C::heads * most_splits<C> * row)};
  }
};

// Query heads that are attended together.
constexpr int heads_at_once = 4;
// Queries and the new key, then what waves bring together, then a flag.
template <class C>
constexpr int attention_shared_bytes =
    (C::group + 1) * C::dim * 4 + waves * heads_at_once * (C::dim + 2) * 4 + 16;

// Softmax in progress over some positions for `Heads` query heads; a lane has 8 features.
template <int Heads>
struct Stream {
  float top[Heads];
  float total[Heads];
  float out[Heads][8];
};

template <int Heads>
SINTER_INLINE void merge(Stream<Heads>& a, int h, float top, float total, const float (&out)[8]) {
  const float most = larger(a.top[h], top);
  const float keep = exp(a.top[h] - most);
  const float take = exp(top - most);
  a.total[h] = a.total[h] * keep + total * take;
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; ++i) a.out[h][i] = a.out[h][i] * keep + out[i] * take;
  a.top[h] = most;
}

constexpr int power_of_two(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

// How the threads of a block lie over cached positions: some lanes to a position, 8 features each.
template <class C>
struct Spread {
  static constexpr int lanes_per_row = power_of_two(C::dim / 8);
  static_assert(lanes_per_row <= wave_size, "heads of more than 256 features have no kernel");
  static constexpr int streams = threads / lanes_per_row;
  static constexpr int batch = 4;  // positions of a stream whose loads are under way together
  static constexpr int positions = streams * batch;

  static __device__ int feature() { return thread() % lanes_per_row * 8; }
  static __device__ bool active() { return feature() < C::dim; }
  static __device__ int stream() { return thread() / lanes_per_row; }
};

// This thread's part of the positions from `base` on, `positions` of them at most.
template <class C>
struct CachedBatch {
  using S = Spread<C>;
  typename C::Run keys[S::batch];
  typename C::Run values[S::batch];

  __device__ __attribute__((always_inline)) void read(const C& c, index kv_head, index base,
                                                      index end) {
#pragma clang loop unroll(full)
    for (int b = 0; b < S::batch; ++b) {
      const index p = base + b * S::streams + S::stream();
      keys[b] = {};
      values[b] = {};
      if (p < end && S::active()) {
        keys[b] = c.key(kv_head, p).read(0, S::feature());
        values[b] = c.value(kv_head, p).read(0, S::feature());
      }
    }
  }
  // The new position, number `at` from the first of the batch: to the cache and, if the batch is
  // long enough, to it. The key is in shared memory; `value` has this thread's features.
  __device__ __attribute__((always_inline)) void append(const C& c, index kv_head, index position,
                                                        int at, const float* key,
                                                        const float (&value)[8]) {
    const bool mine = S::stream() == at % S::streams && S::active();
    if (!C::coded && !mine) return;
    float key_run[run];
#pragma clang loop unroll(full)
    for (int i = 0; i < run; ++i) {
      const int d = S::feature() + i;
      key_run[i] = d < C::head_dim ? key[d] : 0.0F;
    }
    const auto k = C::Run::of(key_run);
    const auto v = C::Run::of(value);
    if (!mine) return;
    c.key(kv_head, position).write(S::feature(), k);
    c.value(kv_head, position).write(S::feature(), v);
#pragma clang loop unroll(full)
    for (int b = 0; b < S::batch; ++b)
      if (at / S::streams == b) {
        keys[b] = k;
        values[b] = v;
      }
  }
};

// Heads first..first+Heads-1 of the group over positions begin..end-1. q: [group][dim] in shared
// memory, already scaled. `batch` holds the first positions. The result is in `partials`
// [heads][dim + 2] of every wave (top, total, out).
template <int Heads, class C>
SINTER_INLINE void attend(const C& c, index kv_head, const float* q, index begin, index end,
                          CachedBatch<C> batch, float* partials) {
  using S = Spread<C>;
  const int feature = S::feature();
  float query[Heads][8];
  Stream<Heads> s;
#pragma clang loop unroll(full)
  for (int h = 0; h < Heads; ++h) {
    s.top[h] = masked;
    s.total[h] = 0;
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; ++i) {
      query[h][i] = S::active() ? q[h * C::dim + feature + i] : 0.0F;
      s.out[h][i] = 0;
    }
  }
  // Every lane takes part in every round: sums cross lanes. The next positions are under way
  // meanwhile.
  for (index base = begin; base < end; base += S::positions) {
    CachedBatch<C> next;
    next.read(c, kv_head, base + S::positions, end);
#pragma clang loop unroll(full)
    for (int h = 0; h < Heads; ++h) {
      float score[S::batch];
      float most = s.top[h];
#pragma clang loop unroll(full)
      for (int b = 0; b < S::batch; ++b) {
        float sum = 0;
#pragma clang loop unroll(full)
        for (int i = 0; i < 8; ++i) sum = fma(query[h][i], batch.keys[b].at(i), sum);
        sum = sum_lanes<S::lanes_per_row>(batch.keys[b].scaled(sum));
        score[b] = base + b * S::streams + S::stream() < end ? sum : masked;
        most = larger(most, score[b]);
      }
      const float keep = exp(s.top[h] - most);
      s.top[h] = most;
      s.total[h] *= keep;
#pragma clang loop unroll(full)
      for (int i = 0; i < 8; ++i) s.out[h][i] *= keep;
#pragma clang loop unroll(full)
      for (int b = 0; b < S::batch; ++b) {
        const float weight = score[b] <= 0.5F * masked ? 0.0F : exp(score[b] - most);
        s.total[h] += weight;
        const float factor = batch.values[b].scaled(weight);
#pragma clang loop unroll(full)
        for (int i = 0; i < 8; ++i) s.out[h][i] = fma(factor, batch.values[b].at(i), s.out[h][i]);
      }
    }
    batch = next;
  }
  // The streams of a wave.
#pragma clang loop unroll(full)
  for (int mask = S::lanes_per_row; mask < wave_size; mask *= 2)
#pragma clang loop unroll(full)
    for (int h = 0; h < Heads; ++h) {
      float out[8];
#pragma clang loop unroll(full)
      for (int i = 0; i < 8; ++i) out[i] = shuffle_xor(s.out[h][i], mask);
      const float top = shuffle_xor(s.top[h], mask);
      const float total = shuffle_xor(s.total[h], mask);
      merge(s, h, top, total, out);
    }
  if (lane() < S::lanes_per_row && S::active())
#pragma clang loop unroll(full)
    for (int h = 0; h < Heads; ++h) {
      float* to = partials + (wave() * heads_at_once + h) * (C::dim + 2);
      if (feature == 0) {
        to[0] = s.top[h];
        to[1] = s.total[h];
      }
#pragma clang loop unroll(full)
      for (int i = 0; i < 8; ++i) to[2 + feature + i] = s.out[h][i];
    }
}

// Brings `count` partial softmaxes together at `Width` features: rows of top, total, out...,
// `stride` apart. The loads of `at_once` rows are under way together.
template <int at_once, int Width>
SINTER_INLINE void combine(const float* rows, int count, index stride, int feature, float& top,
                           float& total, float (&out)[Width]) {
  top = masked;
  total = 0;
#pragma clang loop unroll(full)
  for (int j = 0; j < Width; ++j) out[j] = 0;
#pragma clang loop unroll(disable)
  for (int first = 0; first < count; first += at_once) {
    float tops[at_once];
    float totals[at_once];
    float outs[at_once][Width];
    float most = top;
#pragma clang loop unroll(full)
    for (int i = 0; i < at_once; ++i) {
      const bool there = first + i < count;
      const float* row = rows + (there ? first + i : first) * stride;
      tops[i] = row[0];
      totals[i] = there ? row[1] : 0.0F;
#pragma clang loop unroll(full)
      for (int j = 0; j < Width; ++j) outs[i][j] = there ? row[2 + feature + j] : 0.0F;
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < at_once; ++i) most = larger(most, tops[i]);
    const float keep = exp(top - most);
    total *= keep;
#pragma clang loop unroll(full)
    for (int j = 0; j < Width; ++j) out[j] *= keep;
#pragma clang loop unroll(full)
    for (int i = 0; i < at_once; ++i) {
      const float weight = exp(tops[i] - most);
      total += totals[i] * weight;
#pragma clang loop unroll(full)
      for (int j = 0; j < Width; ++j) out[j] += outs[i][j] * weight;
    }
    top = most;
  }
}

template <int Heads, class C, class Finish>
SINTER_INLINE void attend_heads(const C& c, index kv_head, const float* q, index begin, index end,
                                const CachedBatch<C>& batch, float* partials,
                                const Finish& finish) {
  attend<Heads>(c, kv_head, q, begin, end, batch, partials);
  barrier();
  for (int at = thread(); at < Heads * C::dim; at += threads) {
    float top = 0;
    float total = 0;
    float out[1];
    combine<waves>(partials + at / C::dim * (C::dim + 2), waves, heads_at_once * (C::dim + 2),
                   at % C::dim, top, total, out);
    finish(at / C::dim, at % C::dim, top, total, out[0]);
  }
  barrier();
}

// Splits of the positions 0..total-1, which follow from their number alone: short contexts take
// few, long ones all that there are.
template <class C>
struct Splits {
  int count;  // those that have positions
  int chunk;
  int total;

  static SINTER_MEMBER Splits of(int total) {
    const int wanted = (total + positions_per_split - 1) / positions_per_split;
    const int most = wanted < most_splits<C> ? wanted : most_splits<C>;
    const int chunk = (total + most - 1) / most;
    return {(total + chunk - 1) / chunk, chunk, total};
  }
  SINTER_MEMBER int begin(int split) const { return split * chunk; }
  SINTER_MEMBER int end(int split) const {
    return (split + 1) * chunk < total ? (split + 1) * chunk : total;
  }
};

// A split of one KV head's positions for its group of query heads, [group][dim] in shared memory;
// `batch` holds the first positions. The split of a head that finishes last combines them.
template <class C>
SINTER_INLINE void attend_split(const C& c, int kv_head, const Splits<C>& splits, int split,
                                const float* queries, const CachedBatch<C>& batch, float* partials,
                                int* flag, const SplitBuffers<C>& buffers, float* out) {
  const auto finish = [&](int first) {
    return [&, first](int i, int d, float top, float sum, float value) {
      const index head = kv_head * C::group + first + i;
      if (splits.count == 1) {
        if (d < C::head_dim) out[head * C::head_dim + d] = value / sum;
        return;
      }
      float* to = buffers.partials + (head * most_splits<C> + split) * SplitBuffers<C>::row;
      to[2 + d] = value;
      if (d == 0) {
        to[0] = top;
        to[1] = sum;
      }
    };
  };
  int first = 0;
#pragma clang loop unroll(disable)
  for (; first + heads_at_once <= C::group; first += heads_at_once)
    attend_heads<heads_at_once>(c, kv_head, queries + first * C::dim, splits.begin(split),
                                splits.end(split), batch, partials, finish(first));
  constexpr int left = C::group % heads_at_once;
  if constexpr (left > 0)
    attend_heads<left>(c, kv_head, queries + first * C::dim, splits.begin(split), splits.end(split),
                       batch, partials, finish(first));
  if (splits.count == 1) return;

  fence();
  barrier();
  if (thread() == 0) *flag = fetch_add(&buffers.arrived[kv_head], 1);
  barrier();
  if (*flag != splits.count - 1) return;
  if (thread() == 0) buffers.arrived[kv_head] = 0;
  // Two features to a thread where one would take several rounds.
  constexpr int width = C::group * C::dim > threads ? 2 : 1;
  for (int at = thread() * width; at < C::group * C::dim; at += threads * width) {
    const index head = kv_head * C::group + at / C::dim;
    const int feature = at % C::dim;
    float top = 0;
    float sum = 0;
    float values[width];
    combine<16>(buffers.partials + head * most_splits<C> * SplitBuffers<C>::row, splits.count,
                SplitBuffers<C>::row, feature, top, sum, values);
#pragma clang loop unroll(full)
    for (int i = 0; i < width; ++i)
      if (feature + i < C::head_dim) out[head * C::head_dim + feature + i] = values[i] / sum;
  }
}

// One row: transforms, append and attention in one phase. A block has a split of the positions of
// one KV head. What the phase waits for is mostly the way to memory and back, so whatever can be
// under way together is.
template <class C, class QTransform, class KTransform>
SINTER_INLINE void attention_step(const Launch* launch, const C& caches, HeadRows q, HeadRows k,
                                  HeadRows v, const QTransform& q_transform,
                                  const KTransform& k_transform, float scale,
                                  unsigned char* split_base, float* out) {
  using S = Spread<C>;
  const SplitBuffers<C> buffers = SplitBuffers<C>::at(split_base);
  float* const queries = reinterpret_cast<float*>(shared_memory());
  float* const key = queries + C::group * C::dim;
  float* const partials = key + C::dim;
  int* const flag = reinterpret_cast<int*>(partials + waves * heads_at_once * (C::dim + 2));

  // The phase before writes q, k and v. The table, the step and what earlier steps cached are
  // there. Waves take rows: the query heads, then the new key.
  const int position = step_rows(launch)->position;
  const C c = caches.of(launch, step_rows(launch)->sequence);
  typename QTransform::Head query;
  typename KTransform::Head new_key;
  q_transform.fetch_constants(0, query);
  if (wave() == C::group % waves) k_transform.fetch_constants(0, new_key);
  const auto splits = Splits<C>::of(position + 1);
  const int units = C::kv_heads * splits.count;
  CachedBatch<C> batch;
  const auto read = [&](int unit) __attribute__((always_inline)) {
    const int split = unit / C::kv_heads;
    const int end = splits.end(split);
    batch.read(c, unit % C::kv_heads, splits.begin(split), end < position ? end : position);
  };
  if (launch->worker < units) read(launch->worker);
  await_phases();
  const float q_factor = q_transform.row_factor(q, 0, partials);
  const float k_factor = k_transform.row_factor(k, 0, partials + waves);

  for (int unit = launch->worker; unit < units;) {
    const int h = unit % C::kv_heads;
    const int split = unit / C::kv_heads;
    const int begin = splits.begin(split);
    const int end = splits.end(split);
    const auto fetch = [&](int i) __attribute__((always_inline)) {
      if (i < C::group) {
        q_transform.fetch(q, 0, h * C::group + i, query);
      } else if (i == C::group) {
        k_transform.fetch(k, 0, h, new_key);
      }
    };
    fetch(wave());
    float value[8];
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; ++i) {
      const int d = S::feature() + i;
      value[i] = d < C::head_dim ? v.base[h * v.head_stride + d] : 0.0F;
    }

    const int rows = end == splits.total ? C::group + 1 : C::group;
    for (int i = wave(); i < rows; i += waves) {
      float* const row = queries + i * C::dim;
      if (i >= waves) fetch(i);
      if (i < C::group) {
        q_transform.apply(query, q_factor, scale, row);
      } else {
        k_transform.apply(new_key, k_factor, 1.0F, row);
      }
      for (int d = C::head_dim + lane(); d < C::dim; d += wave_size) row[d] = 0;
    }
    barrier();
    if (end == splits.total) {
      batch.append(c, h, position, position - begin, key, value);
      // The cache is read back where a split takes several rounds.
      if (end - begin > S::positions) barrier();
    }
    attend_split(c, h, splits, split, queries, batch, partials, flag, buffers, out);
    unit += launch->workers;
    barrier();
    if (unit < units) read(unit);
  }
}

// Several rows, first phase: q is transformed into `queries` [rows][heads][head_dim], k and v go to
// the caches. A wave takes a head, a block as many heads of a row; the transforms run in shared
// memory.
template <class C>
constexpr int append_shared_bytes = waves * C::dim * 4 + 2 * waves * 4;

template <class C, class QTransform, class KTransform>
SINTER_INLINE void attention_append(const Launch* launch, const C& caches, HeadRows q, HeadRows k,
                                    HeadRows v, const QTransform& q_transform,
                                    const KTransform& k_transform, float scale, float* queries) {
  float* const row = reinterpret_cast<float*>(shared_memory()) + wave() * C::dim;
  float* const scratch = reinterpret_cast<float*>(shared_memory()) + waves * C::dim;
  constexpr int rounds_of_row = (C::heads + C::kv_heads + waves - 1) / waves;
  for (index unit = launch->worker; unit < launch->step->rows * index{rounds_of_row};
       unit += launch->workers) {
    const index t = unit / rounds_of_row;
    const int h = static_cast<int>(unit % rounds_of_row) * waves + wave();
    const StepRow step = step_rows(launch)[t];
    const C c = caches.of(launch, step.sequence);
    const float q_factor = q_transform.row_factor(q, t, scratch);
    const float k_factor = k_transform.row_factor(k, t, scratch + waves);
    if (h < C::heads) {
      typename QTransform::Head head;
      q_transform.fetch_constants(t, head);
      q_transform.fetch(q, t, h, head);
      q_transform.apply(head, q_factor, scale, row);
    } else if (h < C::heads + C::kv_heads) {
      typename KTransform::Head head;
      k_transform.fetch_constants(t, head);
      k_transform.fetch(k, t, h - C::heads, head);
      k_transform.apply(head, k_factor, 1.0F, row);
    }
    barrier();
    if (h < C::heads) {
      for (int i = lane(); i < C::head_dim; i += wave_size)
        queries[(t * C::heads + h) * C::head_dim + i] = row[i];
    } else if (h < C::heads + C::kv_heads) {
      const int kv = h - C::heads;
      c.append(kv, step.position, row, v.base + t * v.stride + kv * v.head_stride);
    }
    barrier();
  }
}

// Few rows, second phase: each as if it were alone, its positions split as attention_step splits
// them. `split_base` has a place for each row.
template <class C>
SINTER_INLINE void attention_few(const Launch* launch, const C& caches, const float* queries,
                                 unsigned char* split_base, float* out) {
  float* const group = reinterpret_cast<float*>(shared_memory());
  float* const partials = group + (C::group + 1) * C::dim;
  int* const flag = reinterpret_cast<int*>(partials + waves * heads_at_once * (C::dim + 2));
  const int rows = launch->step->rows;
  const int pairs = rows * C::kv_heads;
  // The longest row has the most splits. The first splits of all come first: there is one of each.
  int longest = 0;
  for (int r = lane(); r < rows; r += wave_size)
    longest = step_rows(launch)[r].position > longest ? step_rows(launch)[r].position : longest;
#pragma clang loop unroll(full)
  for (int mask = 1; mask < wave_size; mask *= 2) {
    const int other = shuffle_xor(longest, mask);
    longest = other > longest ? other : longest;
  }
  const int units = pairs * Splits<C>::of(longest + 1).count;
  for (int unit = launch->worker; unit < units; unit += launch->workers) {
    const int t = unit % pairs / C::kv_heads;
    const int h = unit % C::kv_heads;
    const StepRow row = step_rows(launch)[t];
    const auto splits = Splits<C>::of(row.position + 1);
    const int split = unit / pairs;
    if (split >= splits.count) continue;
    const C c = caches.of(launch, row.sequence);
    CachedBatch<C> batch;
    batch.read(c, h, splits.begin(split), splits.end(split));
    const float* from = queries + (index{t} * C::heads + h * C::group) * C::head_dim;
    for (int i = thread(); i < C::group * C::dim; i += threads)
      group[i] = i % C::dim < C::head_dim ? from[i / C::dim * C::head_dim + i % C::dim] : 0.0F;
    barrier();
    attend_split(c, h, splits, split, group, batch, partials, flag,
                 SplitBuffers<C>::at(split_base + index{t} * SplitBuffers<C>::bytes),
                 out + index{t} * C::heads * C::head_dim);
    barrier();
  }
}

// Many rows, second phase, without matrix units (attention_tiles.h). A block has one KV head and a
// tile: rows of the step times the heads of the group. Keys, then values, of some positions at a
// time come to shared memory as float32. Rows of several sequences in a tile take turns.
constexpr int attention_tile = 32;

// What a block takes at a time: rows first .. last - 1 of the step with a KV head, of whose group a
// pass takes as many as fit a tile. Later rows of a sequence have more to do, so they come first.
struct TileUnit {
  index kv_head;
  int pass;
  int first, last;

  template <class Tile>
  static SINTER_MEMBER int of_tokens(int tokens) {
    return (tokens + Tile::tokens - 1) / Tile::tokens;
  }
  template <class C, class Tile>
  static SINTER_MEMBER index count(int tokens) {
    return index{C::kv_heads} * of_tokens<Tile>(tokens) * Tile::passes;
  }
  template <class C, class Tile>
  static SINTER_MEMBER TileUnit of(index unit, int tokens) {
    const int from_end = static_cast<int>(unit / C::kv_heads / Tile::passes);
    const int first = (of_tokens<Tile>(tokens) - 1 - from_end) * Tile::tokens;
    return {unit % C::kv_heads, static_cast<int>(unit / C::kv_heads % Tile::passes), first,
            first + Tile::tokens < tokens ? first + Tile::tokens : tokens};
  }
};

template <class C>
struct AttentionTile {
  static constexpr int tokens = attention_tile / C::group < 1 ? 1 : attention_tile / C::group;
  // A group larger than a tile takes several.
  static constexpr int rows = tokens * C::group;
  static constexpr int passes = (rows + attention_tile - 1) / attention_tile;
  static constexpr int positions = C::dim <= 128 ? 64 : 16;
  static constexpr int stride = C::dim + 4;
  static constexpr int score_stride = positions + 4;
  static constexpr int bytes =
      (attention_tile * stride + positions * stride + attention_tile * score_stride) * 4;
};
template <class C>
SINTER_INLINE void load_positions(const typename C::Rows& from, index count, float* to) {
  using Tile = AttentionTile<C>;
  constexpr int chunks = C::dim / 8;
  for (int at = thread(); at < Tile::positions * chunks; at += threads) {
    const int p = at / chunks;
    const int feature = at % chunks * 8;
    typename C::Run x = {};
    if (p < count) x = from.read(p, feature);
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; i += 4)
      *reinterpret_cast<f32x4*>(to + p * Tile::stride + feature + i) = f32x4{
          x.scaled(x.at(i)), x.scaled(x.at(i + 1)), x.scaled(x.at(i + 2)), x.scaled(x.at(i + 3))};
  }
}

template <class C>
SINTER_INLINE void attention_by_lanes(const Launch* launch, const C& caches, const float* queries,
                                      float* out) {
  using Tile = AttentionTile<C>;
  // Eight threads share a row: of scores each has every eighth position, of the result every eighth
  // run of four features.
  constexpr int sharing = threads / attention_tile;
  constexpr int score_count = Tile::positions / sharing;
  constexpr int runs = (C::dim / 4 + sharing - 1) / sharing;
  float* const q = reinterpret_cast<float*>(shared_memory());
  float* const tile = q + attention_tile * Tile::stride;
  float* const scores = tile + Tile::positions * Tile::stride;
  const StepRow* const steps = step_rows(launch);
  const int tokens = launch->step->rows;
  const int row = thread() / sharing;
  const int mine = thread() % sharing;

  for (index unit = launch->worker; unit < TileUnit::count<C, Tile>(tokens);
       unit += launch->workers) {
    const auto [h, pass, first, last] = TileUnit::of<C, Tile>(unit, tokens);
    const int in_unit = pass * attention_tile + row;  // among the rows of the unit
    const int token = first + in_unit / C::group;
    const bool valid = in_unit < Tile::rows && token < last;
    const index head = index{token} * C::heads + h * C::group + in_unit % C::group;

    for (int d = mine * 4; d < C::dim; d += sharing * 4)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i)
        q[row * Tile::stride + d + i] =
            valid && d + i < C::head_dim ? queries[head * C::head_dim + d + i] : 0.0F;
    float top = masked;
    float total = 0;
    f32x4 sum[runs] = {};
    int begin = first;  // of the rows of the sequence whose turn it is
    int stop = first;
    index p = 0;
    index end = 0;
    index limit = 0;  // of this thread's row: 0 while it is not its turn
    C c = caches;
#pragma clang loop unroll(disable)
    while (true) {
      if (p >= end) {
        if (stop == last) break;
        begin = stop;
        while (stop < last && steps[stop].sequence == steps[begin].sequence) ++stop;
        c = caches.of(launch, steps[begin].sequence);
        p = 0;
        end = steps[stop - 1].position + 1;
        limit = valid && token >= begin && token < stop ? steps[token].position + 1 : 0;
      }
      barrier();
      load_positions<C>(c.key(h, p), end - p, tile);
      barrier();
      float score[score_count] = {};
#pragma clang loop unroll_count(4)
      for (int d = 0; d < C::dim; d += 4) {
        const auto a = *reinterpret_cast<const f32x4*>(q + row * Tile::stride + d);
#pragma clang loop unroll(full)
        for (int i = 0; i < score_count; ++i) {
          const auto k =
              *reinterpret_cast<const f32x4*>(tile + (i * sharing + mine) * Tile::stride + d);
#pragma clang loop unroll(full)
          for (int j = 0; j < 4; ++j) score[i] = fma(a[j], k[j], score[i]);
        }
      }
      float most = top;
#pragma clang loop unroll(full)
      for (int i = 0; i < score_count; ++i) {
        if (p + i * sharing + mine >= limit) score[i] = masked;
        most = larger(most, score[i]);
      }
      most = max_lanes<sharing>(most);
      const float keep = exp(top - most);
      top = most;
      float weights = 0;
#pragma clang loop unroll(full)
      for (int i = 0; i < score_count; ++i) {
        const float weight = score[i] <= 0.5F * masked ? 0.0F : exp(score[i] - most);
        weights += weight;
        scores[row * Tile::score_stride + i * sharing + mine] = weight;
      }
      total = total * keep + sum_lanes<sharing>(weights);
#pragma clang loop unroll(full)
      for (int i = 0; i < runs; ++i) sum[i] *= keep;
      barrier();
      load_positions<C>(c.value(h, p), end - p, tile);
      barrier();
#pragma clang loop unroll_count(4)
      for (int i = 0; i < Tile::positions; ++i) {
        const float weight = scores[row * Tile::score_stride + i];
#pragma clang loop unroll(full)
        for (int r = 0; r < runs; ++r) {
          const int d = (r * sharing + mine) * 4;
          if (d < C::dim) {
            const auto v = *reinterpret_cast<const f32x4*>(tile + i * Tile::stride + d);
            sum[r] += v * weight;
          }
        }
      }
      p += Tile::positions;
    }
    if (valid)
#pragma clang loop unroll(full)
      for (int r = 0; r < runs; ++r)
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; ++i) {
          const int d = (r * sharing + mine) * 4 + i;
          if (d < C::head_dim) out[head * C::head_dim + d] = sum[r][i] / total;
        }
    barrier();
  }
}

}  // namespace sinter
