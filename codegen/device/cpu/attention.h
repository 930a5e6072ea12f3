// Attention with what surrounds it: per-head norm and RoPE of q and k, append to the caches, causal
// softmax.
//
// Caches lie in pages (kv_cache.h). In a page keys are stored in blocks of 16 positions,
// [kv_head][position/16][feature][16], and their scales [kv_head][position/16][group][16]: a score
// needs no sum across lanes. Of 4-bit keys the features 2i and 2i + 1 share bytes. Values are
// [kv_head][position][feature], scales [kv_head][position][group].
#pragma once

#include "cpu/activations.h"
#include "head_rows.h"
#include "kv_cache.h"
#include "sizes.h"

namespace sinter {

// Heads of q, k or v and what happens to them before attention. RopeDims features from RopeBegin on
// are rotated. Norm: the element type of its weight; void: no norm.
template <int HeadDim, class Norm, int RopeDims, bool Interleaved, class NormOf = OfHead,
          int RopeBegin = 0, class Rows = HeadRows>
struct HeadTransform {
  const Norm* norm;  // [HeadDim], or of the row
  float eps;
  const float* table;  // [rows, RopeDims]: cos | sin
  Rows rows;

  static constexpr bool has_norm = !__is_void(Norm);
  static constexpr bool has_weight = has_norm && !__is_same(Norm, Unweighted);
  static constexpr bool of_row = NormOf::cols > 0;
  static constexpr bool of_rotated = __is_same(NormOf, OfRotatedHead);

  template <class Head>
  static inline __attribute__((always_inline)) float factor_of(const Head& x, float eps,
                                                               float scale) {
    float squares = 0;
    for (int i = 0; i < HeadDim; ++i) squares += x[i] * x[i];
    const float mean = squares / HeadDim + eps;
    return scale / __builtin_sqrtf(mean) + (mean - mean);  // see inverse_root
  }
  // What a norm over the row makes of all of its heads.
  inline __attribute__((always_inline)) float row_factor(index t) const {
    if constexpr (of_row) {
      const float* const row = rows.base + t * rows.stride + NormOf::begin;
      return RmsNormRows<NormOf::cols, void>{row, nullptr, eps, {}}.begin(0).factor;
    } else {
      return 1.0F;
    }
  }
  template <class Head>
  inline __attribute__((always_inline)) void rotate(const Head& x, index t, float* out) const {
    constexpr int half = RopeDims / 2;
    const float* cosine = RopeDims > 0 ? table + t * RopeDims : nullptr;
    const float* sine = cosine + half;
    for (int i = 0; i < half; ++i) {
      const int a = RopeBegin + (Interleaved ? 2 * i : i);
      const int b = RopeBegin + (Interleaved ? 2 * i + 1 : i + half);
      out[a] = x[a] * cosine[i] - x[b] * sine[i];
      out[b] = x[b] * cosine[i] + x[a] * sine[i];
    }
    for (int i = 0; i < RopeBegin; ++i) out[i] = x[i];
    for (int i = RopeBegin + RopeDims; i < HeadDim; ++i) out[i] = x[i];
  }
  // Of values: head h of row t as it is, or its norm in `normal`.
  inline __attribute__((always_inline)) const float* value(index t, index h, float* normal) const {
    if constexpr (has_norm) {
      apply(t, h, 1.0F, 1.0F, normal);
      return normal;
    } else {
      return rows.head(t, h);
    }
  }
  // Head h of row t transformed, times `scale`.
  inline __attribute__((always_inline)) void apply(index t, index h, float row_factor, float scale,
                                                   float* out) const {
    const auto in = rows.head(t, h);
    if constexpr (of_rotated) {
      rotate(in, t, out);
      const float factor = factor_of(out, eps, scale);
      for (int i = 0; i < HeadDim; ++i) {
        if constexpr (has_weight) {
          out[i] *= factor * load_scalar(norm + i);
        } else {
          out[i] *= factor;
        }
      }
    } else {
      float factor = scale;
      if constexpr (of_row) {
        factor = scale * row_factor;
      } else if constexpr (has_norm) {
        factor = factor_of(in, eps, scale);
      }
      float x[HeadDim];
      for (int i = 0; i < HeadDim; ++i) {
        x[i] = in[i] * factor;
        if constexpr (has_weight)
          x[i] *= load_scalar(norm + NormOf::first + h * NormOf::stride + i);
      }
      rotate(x, t, out);
    }
  }
};

// 16 codes, one to a lane, as numbers but for their scale: CodeScale::number().
template <class Format>
SINTER_INLINE f32x16 numbers_of(u32x16 codes) {
  constexpr float base = CodeScale<Format>::base;
  return (base + 1.0F) - __builtin_bit_cast(f32x16, codes | __builtin_bit_cast(u32, base));
}

// Cached keys of 16 positions of a head.
template <class L>
struct KeyBlock {
  using Format = typename L::Format;
  u8* codes;
  f16* scales;

  // Feature i of every position.
  SINTER_MEMBER f32x16 at(int i) const {
    if constexpr (Format::group == 0) {
      return load(reinterpret_cast<const typename Format::Number*>(codes) + i * lanes);
    } else {
      constexpr int to_byte = 8 / Format::bits;
      const u32x16 bytes = widen(load_unaligned<u8x16>(codes + i / to_byte * lanes));
      const u32x16 code =
          bytes >> static_cast<u32>(i % to_byte * Format::bits) & CodeScale<Format>::mask;
      return numbers_of<Format>(code) * load(scales + i / Format::group * lanes);
    }
  }
};

// Cached values of positions of a head, one after another.
template <class L>
struct ValueRows {
  using Format = typename L::Format;
  u8* codes;
  f16* scales;

  // Features i.. of a position, i a multiple of 16.
  SINTER_MEMBER f32x16 at(index position, int i) const {
    const u8* const from = codes + position * L::row_bytes + i * Format::bits / 8;
    if constexpr (Format::group == 0) {
      return load(reinterpret_cast<const typename Format::Number*>(from));
    } else {
      u32x16 code;
      if constexpr (Format::bits == 8) {
        code = widen(load_unaligned<u8x16>(from));
      } else {
        const u8x8 bytes = load_unaligned<u8x8>(from);
        code =
            widen(__builtin_shufflevector(bytes & static_cast<u8>(15), bytes >> static_cast<u8>(4),
                                          0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
      }
      const f16 scale = scales[position * L::groups + i / Format::group];
      return numbers_of<Format>(code) * splat(static_cast<float>(scale));
    }
  }
};

// A head becomes part of a cache. Its numbers, bytes of codes and scales lie `Stride` apart.
template <class Format, int HeadDim, int Stride>
SINTER_INLINE void put_head(const float* x, u8* codes, f16* scales) {
  if constexpr (Format::group == 0) {
    using Number = typename Format::Number;
    Number* const to = reinterpret_cast<Number*>(codes);
    for (int i = 0; i < HeadDim; ++i) to[i * Stride] = to_number<Number>(x[i]);
  } else {
    constexpr int to_byte = 8 / Format::bits;
    for (int begin = 0; begin < HeadDim; begin += Format::group) {
      const int end = begin + Format::group < HeadDim ? begin + Format::group : HeadDim;
      u32 largest = 0;
      for (int i = begin; i < end; ++i)
        largest = size_order(x[i]) > largest ? size_order(x[i]) : largest;
      const auto scale = CodeScale<Format>::of(largest);
      scales[begin / Format::group * Stride] = scale.scale;
      for (int i = begin; i < end; i += to_byte) {
        u32 byte = 0;
        for (int j = 0; j < to_byte && i + j < end; ++j)
          byte |= scale.code(x[i + j]) << (j * Format::bits);
        codes[i / to_byte * Stride] = static_cast<u8>(byte);
      }
    }
  }
}

// PagesOf: Pages, or a Ring. Sink: the element type of sinks; void: none.
template <int HeadsCount, int KvHeadsCount, int QkHeadDim, int VHeadDim, class PagesOf,
          class Format, int Window, int Chunk = 0, u32 SoftcapBits = 0, class Sink = void>
struct Caches {
  using Keys = CacheLayout<Format, KvHeadsCount, QkHeadDim>;
  using Values = CacheLayout<Format, KvHeadsCount, VHeadDim>;
  static constexpr int heads = HeadsCount, kv_heads = KvHeadsCount;
  static constexpr int group = heads / kv_heads;  // query heads that share a KV head
  // Features of a head: of queries and keys, of values and results; of values as they are cached.
  static constexpr int qk_head_dim = QkHeadDim, v_head_dim = VHeadDim;
  static constexpr int value_dim = Values::dim;
  static constexpr int window = Window, chunk = Chunk;  // 0: none
  static constexpr int reach = static_cast<int>(sizes::reach(window, chunk));
  // Of scores, 0: none. A parameter as bits, since not every compiler takes one that is a float.
  static constexpr float softcap = __builtin_bit_cast(float, SoftcapBits);
  static constexpr bool has_sinks = !__is_void(Sink);
  u8* keys;  // of the first page
  u8* values;
  PagesOf pages;
  [[no_unique_address]] Sinks<Sink> sinks;

  SINTER_MEMBER Caches of(const Launch* launch, index sequence) const {
    return {keys, values, PagesOf::of(launch, sequence), sinks};
  }
  // Rows from that of a position on: their codes and scales.
  template <template <class> class Rows, class L>
  SINTER_MEMBER Rows<L> rows(u8* first, index kv_head, index position) const {
    u8* const page = pages.template numbered<L::page_bytes>(first, pages.number(position));
    const index row = L::row(kv_head, position);
    return {page + row * L::row_bytes, reinterpret_cast<f16*>(page + L::scales) + row * L::groups};
  }
  // Of the 16 positions from `position` on, a multiple of 16.
  SINTER_MEMBER KeyBlock<Keys> key_block(index kv_head, index position) const {
    return rows<KeyBlock, Keys>(keys, kv_head, position);
  }
  SINTER_MEMBER ValueRows<Values> value_rows(index kv_head, index position) const {
    return rows<ValueRows, Values>(values, kv_head, position);
  }
  SINTER_MEMBER void append(index kv_head, index position, const float* k, const float* v) const {
    const KeyBlock<Keys> key = key_block(kv_head, position / lanes * lanes);
    const index in_block = position % lanes;
    constexpr int number_bytes = Format::group == 0 ? Format::bits / 8 : 1;
    put_head<Format, qk_head_dim, lanes>(k, key.codes + in_block * number_bytes,
                                         key.scales + in_block);
    const ValueRows<Values> value = value_rows(kv_head, position);
    put_head<Format, v_head_dim, 1>(v, value.codes, value.scales);
  }
};

constexpr float masked = -1e30F;

// What a score becomes before it is masked. tanh(x) = 1 - 2 / (e^2x + 1), of which the 1 is left
// out: softmax does not see what all scores have in common. What this loses near 0 is lost of
// scores as large as the cap anyway.
template <class C>
SINTER_INLINE f32x16 capped(f32x16 score) {
  if constexpr (C::softcap > 0.0F) {
    return -2.0F * C::softcap / (bounded_exp(score * (2.0F / C::softcap)) + 1.0F);
  } else {
    return score;
  }
}

// Softmax in progress over part of the positions, for R query rows: out = sum of e^(score - top) v,
// total = sum of e^(score - top).
template <int R, class C>
struct Partial {
  float top[R];
  float total[R];
  float out[R][C::value_dim];
};

constexpr index score_block = sizes::host_score_block;  // positions whose scores are held at a time

// Rows of q (already scaled, [R][qk_head_dim]) against positions begin..end-1, from a multiple of
// 16 on; row r sees those below limit[r] from first_seen() on.
template <int R, class C>
SINTER_INLINE void attend(const C& c, index kv_head, const float* q, const index* limit,
                          index begin, index end, Partial<R, C>& partial) {
  for (int r = 0; r < R; ++r) {
    partial.top[r] = masked;
    partial.total[r] = 0;
    for (int i = 0; i < C::value_dim; ++i) partial.out[r][i] = 0;
  }
  const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  i32 first[R];
  for (int r = 0; r < R; ++r) first[r] = first_seen<C>(static_cast<int>(limit[r] - 1));
  for (index at = begin; at < end; at += score_block) {
    const index stop = at + score_block < end ? at + score_block : end;
    float scores[R][score_block];
    for (index p = at; p < stop; p += lanes) {
      const auto keys = c.key_block(kv_head, p);
      f32x16 sums[R];
      for (int r = 0; r < R; ++r) sums[r] = splat(0.0F);
      for (int i = 0; i < C::qk_head_dim; ++i) {
        const f32x16 k = keys.at(i);
#pragma clang loop unroll(full)
        for (int r = 0; r < R; ++r) sums[r] = fma(k, splat(q[r * C::qk_head_dim + i]), sums[r]);
      }
      for (int r = 0; r < R; ++r) {
        i32x16 seen = lane < static_cast<i32>(limit[r] - p);
        if constexpr (C::reach > 0) seen &= lane >= static_cast<i32>(first[r] - p);
        store_unaligned(&scores[r][p - at], seen ? capped<C>(sums[r]) : splat(masked));
      }
    }
    const index blocks = (stop - at + lanes - 1) / lanes;
    for (int r = 0; r < R; ++r) {
      f32x16 largest = load(scores[r]);
      for (index b = 1; b < blocks; ++b)
        largest = __builtin_elementwise_max(largest, load(&scores[r][b * lanes]));
      const float block_top = reduce_max(largest);
      const float top = block_top > partial.top[r] ? block_top : partial.top[r];
      f32x16 sum = splat(0.0F);
      for (index b = 0; b < blocks; ++b) {
        const f32x16 s = load(&scores[r][b * lanes]);
        // A NaN is none of the masked.
        const f32x16 p = s <= splat(0.5F * masked) ? splat(0.0F) : bounded_exp(s - top);
        store_unaligned(&scores[r][b * lanes], p);
        sum += p;
      }
      const float keep = bounded_exp(partial.top[r] - top);
      partial.total[r] = partial.total[r] * keep + reduce_add(sum);
      partial.top[r] = top;
      for (int i = 0; i < C::value_dim; ++i) partial.out[r][i] *= keep;
    }
    for (int i = 0; i < C::value_dim; i += lanes) {
      f32x16 out[R];
      for (int r = 0; r < R; ++r) out[r] = load(&partial.out[r][i]);
      for (index p = at; p < stop; p += lanes) {
        const auto values = c.value_rows(kv_head, p);
        const index n = stop - p < lanes ? stop - p : lanes;
        for (index j = 0; j < n; ++j) {
          const f32x16 v = values.at(j, i);
#pragma clang loop unroll(full)
          for (int r = 0; r < R; ++r) out[r] = fma(v, splat(scores[r][p - at + j]), out[r]);
        }
      }
      for (int r = 0; r < R; ++r) store_unaligned(&partial.out[r][i], out[r]);
    }
  }
}

// A softmax is over: what its weights add up to with the sink of the head, a score whose value is
// 0.
template <class C>
SINTER_INLINE float total_with_sink(const C& c, index head, float top, float total) {
  if constexpr (C::has_sinks) {
    return total + bounded_exp(load_scalar(c.sinks.scores + head) - C::softcap - top);
  } else {
    return total;
  }
}

// Rows that are attended together: the group's heads, or several tokens of them, from head `first`
// of the group on.
template <int R, class C>
SINTER_INLINE void attend_rows(const C& c, index kv_head, index first, const float* q,
                               const index* limit, index begin, index end, float* const* out) {
  Partial<R, C> partial;
  attend<R>(c, kv_head, q, limit, begin, end, partial);
  for (int r = 0; r < R; ++r) {
    const index head = kv_head * C::group + (first + r) % C::group;
    const float inverse = 1.0F / total_with_sink(c, head, partial.top[r], partial.total[r]);
    for (int i = 0; i < C::v_head_dim; ++i) out[r][i] = partial.out[r][i] * inverse;
  }
}

// Splits of the positions of one KV head that a row sees, from a multiple of 16 on: so many for a
// length, whatever the number of workers, since the order of sums depends on them. Runs of 16
// positions are dealt out evenly.
constexpr index max_splits = sizes::host_splits;
constexpr index least_split = 32;  // positions
struct Splits {
  index count;
  index first;
  index total;  // positions, with those before the first

  // Of a row whose own position is the last of `total`.
  template <class C>
  static inline Splits of(index total) {
    const index first = first_seen<C>(static_cast<int>(total - 1)) / lanes * lanes;
    const index wanted = (total - first) / least_split;
    return {wanted < 1 ? 1 : wanted > max_splits ? max_splits : wanted, first, total};
  }
  inline Range positions(index split) const {
    const Range blocks = share((total - first + lanes - 1) / lanes, split, count);
    const index end = first + blocks.end * lanes;
    return {first + blocks.begin * lanes, end < total ? end : total};
  }
};

template <class C>
struct SplitBuffers {
  static constexpr index row = C::value_dim + 2;
  static constexpr index bytes =
      sizes::host_split_bytes(C::heads, C::kv_heads, max_splits, C::value_dim);
  float* partials;  // [heads][max_splits][top, total, out...]
  int* arrived;     // [kv_heads], zero between phases

  static inline SplitBuffers at(unsigned char* base) {
    float* partials = reinterpret_cast<float*>(base);
    return {partials, reinterpret_cast<int*>(partials + C::heads * max_splits * row)};
  }
};

// Calls f(rows, first) for blocks of 8, 4, 2 and 1 rows that together make N; `rows` carries the
// count in its type.
template <int N>
struct Count {
  static constexpr int value = N;
};
template <int N, int First = 0, class F>
SINTER_INLINE void for_group(const F& f) {
  if constexpr (N > 0) {
    constexpr int rows = N >= 8 ? 8 : N >= 4 ? 4 : N >= 2 ? 2 : 1;
    f(Count<rows>{}, First);
    for_group<N - rows, First + rows>(f);
  }
}

// out[head] from the partial softmaxes of its splits.
template <class C>
SINTER_INLINE void combine(const C& c, const SplitBuffers<C>& buffers, index head, index splits,
                           float* out) {
  const float* rows = buffers.partials + head * max_splits * SplitBuffers<C>::row;
  float top = rows[0];
  for (index s = 1; s < splits; ++s) {
    const float other = rows[s * SplitBuffers<C>::row];
    top = other > top ? other : top;
  }
  float total = 0;
  float sums[C::value_dim] = {};
  for (index s = 0; s < splits; ++s) {
    const float* row = rows + s * SplitBuffers<C>::row;
    const float weight = bounded_exp(row[0] - top);
    total += row[1] * weight;
    for (int i = 0; i < C::value_dim; ++i) sums[i] += row[2 + i] * weight;
  }
  total = total_with_sink(c, head, top, total);
  for (int i = 0; i < C::v_head_dim; ++i) out[head * C::v_head_dim + i] = sums[i] / total;
}

// One split of the positions of one KV head for all query heads of its group, [group][qk_head_dim]
// and scaled; the split of a head that finishes last combines them.
template <class C>
SINTER_INLINE void attend_split(const C& c, index kv_head, const Splits& splits, index split,
                                const float* queries, const SplitBuffers<C>& buffers, float* out) {
  const auto [begin, end] = splits.positions(split);
  for_group<C::group>([&](auto rows, index first) {
    constexpr int R = decltype(rows)::value;
    index limit[R];
    for (int r = 0; r < R; ++r) limit[r] = splits.total;
    Partial<R, C> partial;
    attend<R>(c, kv_head, queries + first * C::qk_head_dim, limit, begin, end, partial);
    for (int r = 0; r < R; ++r) {
      const index head = kv_head * C::group + first + r;
      if (splits.count == 1) {
        const float inverse = 1.0F / total_with_sink(c, head, partial.top[r], partial.total[r]);
        for (int i = 0; i < C::v_head_dim; ++i)
          out[head * C::v_head_dim + i] = partial.out[r][i] * inverse;
      } else {
        float* row = buffers.partials + (head * max_splits + split) * SplitBuffers<C>::row;
        row[0] = partial.top[r];
        row[1] = partial.total[r];
        for (int i = 0; i < C::value_dim; ++i) row[2 + i] = partial.out[r][i];
      }
    }
  });
  if (splits.count > 1 &&
      __atomic_add_fetch(&buffers.arrived[kv_head], 1, __ATOMIC_ACQ_REL) == splits.count) {
    __atomic_store_n(&buffers.arrived[kv_head], 0, __ATOMIC_RELAXED);
    for (int i = 0; i < C::group; ++i)
      combine(c, buffers, kv_head * C::group + i, splits.count, out);
  }
}

// What comes before a row's keys are transformed.
template <class K>
SINTER_INLINE float key_factor(const K& k, index t) {
  if constexpr (appends<K>) {
    return k.row_factor(t);
  } else {
    return 1.0F;
  }
}

// One row: transforms, append and attention in one phase. A worker has some splits of the positions
// of some KV heads.
template <class C, class Q, class K, class V>
SINTER_INLINE void attention_step(const Launch* launch, const C& caches, const Q& q, const K& k,
                                  const V& v, float scale, unsigned char* split_base, float* out) {
  const StepRow row = step_rows(launch)[0];
  const C c = caches.of(launch, row.sequence);
  const Splits splits = Splits::of<C>(row.position + 1);
  const SplitBuffers<C> buffers = SplitBuffers<C>::at(split_base);
  const Range units = share(C::kv_heads * splits.count, launch->worker, launch->workers);
  float queries[C::group * C::qk_head_dim];
  index transformed = -1;  // the KV head whose queries these are
  const float q_factor = q.row_factor(0);
  const float k_factor = key_factor(k, 0);
  for (index unit = units.begin; unit < units.end; ++unit) {
    const index h = unit / splits.count;
    const index split = unit % splits.count;
    if constexpr (appends<K>)
      if (split + 1 == splits.count) {
        float key[C::qk_head_dim];
        k.apply(0, h, k_factor, 1.0F, key);
        float normal[C::v_head_dim];
        c.append(h, row.position, key, v.value(0, h, normal));
      }
    if (h != transformed) {
      for (int i = 0; i < C::group; ++i)
        q.apply(0, h * C::group + i, q_factor, scale, queries + i * C::qk_head_dim);
      transformed = h;
    }
    attend_split(c, h, splits, split, queries, buffers, out);
  }
}

// Several rows, first phase: q is transformed into `queries` [rows][heads][qk_head_dim], k and v go
// to the caches.
template <class C, class Q, class K, class V>
SINTER_INLINE void attention_append(const Launch* launch, const C& caches, const Q& q, const K& k,
                                    const V& v, float scale, float* queries) {
  const Range mine = share(launch->step->rows, launch->worker, launch->workers);
  for (index t = mine.begin; t < mine.end; ++t) {
    const StepRow row = step_rows(launch)[t];
    const C c = caches.of(launch, row.sequence);
    const float q_factor = q.row_factor(t);
    const float k_factor = key_factor(k, t);
    for (index h = 0; h < C::heads; ++h)
      q.apply(t, h, q_factor, scale, queries + (t * C::heads + h) * C::qk_head_dim);
    if constexpr (appends<K>)
      for (index h = 0; h < C::kv_heads; ++h) {
        float key[C::qk_head_dim];
        k.apply(t, h, k_factor, 1.0F, key);
        float normal[C::v_head_dim];
        c.append(h, row.position, key, v.value(t, h, normal));
      }
  }
}

// Few rows, second phase: each as if it were alone, its positions split as attention_step splits
// them. `split_base` has a place for each row.
template <class C>
SINTER_INLINE void attention_few(const Launch* launch, const C& caches, const float* queries,
                                 unsigned char* split_base, float* out) {
  const index pairs = launch->step->rows * index{C::kv_heads};
  // The first splits of all come first: there is one of each.
  for (index unit = launch->worker; unit < pairs * max_splits; unit += launch->workers) {
    const index t = unit % pairs / C::kv_heads;
    const index h = unit % C::kv_heads;
    const StepRow row = step_rows(launch)[t];
    const Splits splits = Splits::of<C>(row.position + 1);
    if (unit / pairs >= splits.count) continue;
    attend_split(caches.of(launch, row.sequence), h, splits, unit / pairs,
                 queries + (t * C::heads + h * C::group) * C::qk_head_dim,
                 SplitBuffers<C>::at(split_base + t * SplitBuffers<C>::bytes),
                 out + t * C::heads * C::v_head_dim);
  }
}

// Many rows, second phase: units of one KV head and a few rows, dealt out in turn since later rows
// of a sequence cost more. Rows of one sequence are attended together.
template <class C>
SINTER_INLINE void attention_rows(const Launch* launch, const C& caches, const float* queries,
                                  float* out) {
  constexpr index rows_per_unit = C::group >= 8 ? 1 : 8 / C::group;
  const index count = launch->step->rows;
  const StepRow* const steps = step_rows(launch);
  const index blocks = (count + rows_per_unit - 1) / rows_per_unit;
  for (index unit = launch->worker; unit < C::kv_heads * blocks; unit += launch->workers) {
    const index h = unit % C::kv_heads;
    const index first = unit / C::kv_heads * rows_per_unit;
    const index last = first + rows_per_unit < count ? first + rows_per_unit : count;
    for (index begin = first, stop = first; begin < last; begin = stop) {
      const C c = caches.of(launch, steps[begin].sequence);
      float q[rows_per_unit * C::group * C::qk_head_dim];
      index limit[rows_per_unit * C::group];
      float* to[rows_per_unit * C::group];
      index rows = 0;
      for (; stop < last && steps[stop].sequence == steps[begin].sequence; ++stop)
        for (index i = 0; i < C::group; ++i, ++rows) {
          const index head = stop * C::heads + h * C::group + i;
          for (int d = 0; d < C::qk_head_dim; ++d)
            q[rows * C::qk_head_dim + d] = queries[head * C::qk_head_dim + d];
          limit[rows] = steps[stop].position + 1;
          to[rows] = out + head * C::v_head_dim;
        }
      const index seen = first_seen<C>(steps[begin].position) / lanes * lanes;
      const index end = steps[stop - 1].position + 1;
      index r = 0;
      const auto attend_some = [&](auto some) {
        constexpr int R = decltype(some)::value;
        for (; r + R <= rows; r += R)
          attend_rows<R>(c, h, r, q + r * C::qk_head_dim, limit + r, seen, end, to + r);
      };
      attend_some(Count<8>{});
      attend_some(Count<4>{});
      attend_some(Count<2>{});
      attend_some(Count<1>{});
    }
  }
}

}  // namespace sinter
