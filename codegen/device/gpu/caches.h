// Caches of keys and values, whose heads may differ in width. They lie in pages (kv_cache.h), keys
// and values alike: [kv_head][position][feature], scales [kv_head][position][group]. A thread reads
// and writes 8 features of a row.
#pragma once

#include "gpu/platform.h"
#include "kv_cache.h"
#include "sizes.h"

namespace sinter {

constexpr int run = 8;  // features

// A run of a cached head as it is stored. at(i) is number i but for what scaled() gives it, which
// may as well be given to a sum.
template <class Format, bool = (Format::group > 0)>
struct CachedRun {
  using Number = typename Format::Number;
  using Stored = Number __attribute__((ext_vector_type(run)));
  Stored numbers;

  static SINTER_MEMBER CachedRun of(const float (&x)[run]) {
    CachedRun out;
#pragma clang loop unroll(full)
    for (int i = 0; i < run; ++i) out.numbers[i] = to_number<Number>(x[i]);
    return out;
  }
  static SINTER_MEMBER CachedRun load(const u8* numbers, const f16*) {
    return {*reinterpret_cast<const Stored*>(numbers)};
  }
  SINTER_MEMBER void store(u8* to, f16*, bool) const { *reinterpret_cast<Stored*>(to) = numbers; }
  SINTER_MEMBER float at(int i) const { return static_cast<float>(numbers[i]); }
  SINTER_MEMBER float scaled(float x) const { return x; }
};

template <class Format>
struct CachedRun<Format, true> {
  static constexpr int words = run * Format::bits / 32;
  static constexpr int to_word = 32 / Format::bits;
  using Stored = u32 __attribute__((ext_vector_type(words)));
  Stored codes;
  f16 scale;

  // By a whole wave: the lanes of a group have its runs in order.
  static SINTER_MEMBER CachedRun of(const float (&x)[run]) {
    u32 largest = 0;
#pragma clang loop unroll(full)
    for (int i = 0; i < run; ++i) largest = size_order(x[i]) > largest ? size_order(x[i]) : largest;
#pragma clang loop unroll(full)
    for (int mask = 1; mask < Format::group / run; mask *= 2) {
      const u32 other = shuffle_xor(largest, mask);
      largest = other > largest ? other : largest;
    }
    const auto scale = CodeScale<Format>::of(largest);
    CachedRun out = {Stored(0), scale.scale};
#pragma clang loop unroll(full)
    for (int i = 0; i < run; ++i)
      out.codes[i / to_word] |= scale.code(x[i]) << (i % to_word * Format::bits);
    return out;
  }
  static SINTER_MEMBER CachedRun load(const u8* codes, const f16* scale) {
    return {*reinterpret_cast<const Stored*>(codes), *scale};
  }
  // One lane of a group stores the scale.
  SINTER_MEMBER void store(u8* to, f16* to_scale, bool first) const {
    *reinterpret_cast<Stored*>(to) = codes;
    if (first) *to_scale = scale;
  }
  SINTER_MEMBER float at(int i) const {
    const u32 code = codes[i / to_word] >> (i % to_word * Format::bits);
    return CodeScale<Format>::number(code & CodeScale<Format>::mask);
  }
  SINTER_MEMBER float scaled(float x) const { return x * static_cast<float>(scale); }
};

// Rows of positions of a head, one after another.
template <class L>
struct CachedRows {
  using Format = typename L::Format;
  using Run = CachedRun<Format>;
  u8* codes;
  f16* scales;

  SINTER_MEMBER Run read(index row, int feature) const {
    return Run::load(codes + row * L::row_bytes + feature * Format::bits / 8,
                     scales + row * L::groups + group_of(feature));
  }
  SINTER_MEMBER void write(int feature, const Run& x) const {
    x.store(codes + feature * Format::bits / 8, scales + group_of(feature),
            feature / run % group_runs == 0);
  }

 private:
  static constexpr int group_runs = Format::group == 0 ? 1 : Format::group / run;
  static SINTER_MEMBER int group_of(int feature) {
    return Format::group == 0 ? 0 : feature / (group_runs * run);
  }
};

// PagesOf: Pages, or a Ring. Sink: the element type of sinks; void: none.
template <int HeadsCount, int KvHeadsCount, int QkHeadDim, int VHeadDim, class PagesOf,
          class FormatOf, int Window, int Chunk = 0, u32 SoftcapBits = 0, class Sink = void>
struct Caches {
  using Format = FormatOf;
  using Keys = CacheLayout<Format, KvHeadsCount, QkHeadDim>;
  using Values = CacheLayout<Format, KvHeadsCount, VHeadDim>;
  using Run = CachedRun<Format>;
  static constexpr int heads = HeadsCount, kv_heads = KvHeadsCount;
  static constexpr int group = heads / kv_heads;  // query heads that share a KV head
  // Features of a head: of queries and keys, of values and results; then as they are cached, and
  // the larger of these.
  static constexpr int qk_head_dim = QkHeadDim, v_head_dim = VHeadDim;
  static constexpr int key_dim = Keys::dim, value_dim = Values::dim;
  static constexpr int widest = key_dim > value_dim ? key_dim : value_dim;
  static constexpr bool coded = Format::group > 0;
  static constexpr int bits = Format::bits;
  static constexpr sizes::Heads shape = {group, key_dim, value_dim, bits, Format::group};
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
  SINTER_MEMBER CachedRows<Keys> key(index kv_head, index position) const {
    return key(kv_head, position, pages.number(position));
  }
  SINTER_MEMBER CachedRows<Values> value(index kv_head, index position) const {
    return value(kv_head, position, pages.number(position));
  }
  // With the number of the position's page.
  SINTER_MEMBER CachedRows<Keys> key(index kv_head, index position, int page) const {
    return rows<Keys>(keys, kv_head, position, page);
  }
  SINTER_MEMBER CachedRows<Values> value(index kv_head, index position, int page) const {
    return rows<Values>(values, kv_head, position, page);
  }
  // Of a head of a value, what a lane takes part in an append with.
  static SINTER_MEMBER void fetch_value(const float* head, float (&to)[run]) {
    fetch_run<v_head_dim>(head, to);
  }
  // By a wave. The key is in shared memory; the value, as fetch_value() leaves it. Then
  // keep_key(feature, run) and keep_value(feature, run) get each run as it is cached.
  template <class KeepKey, class KeepValue>
  SINTER_MEMBER void append(index kv_head, index position, const float* k, const float (&v)[run],
                            const KeepKey& keep_key, const KeepValue& keep_value) const {
    float key_run[run];
    fetch_run<qk_head_dim>(k, key_run);
    const Run new_key = Run::of(key_run);
    const Run new_value = Run::of(v);
    const int feature = lane_feature();
    if (feature < key_dim) {
      key(kv_head, position).write(feature, new_key);
      keep_key(feature, new_key);
    }
    if (feature < value_dim) {
      value(kv_head, position).write(feature, new_value);
      keep_value(feature, new_value);
    }
  }
  SINTER_MEMBER void append(index kv_head, index position, const float* k,
                            const float (&v)[run]) const {
    const auto nothing = [](int, const Run&) {};
    append(kv_head, position, k, v, nothing, nothing);
  }
  // The same runs of what has been appended.
  template <class KeepKey, class KeepValue>
  SINTER_MEMBER void recall(index kv_head, index position, const KeepKey& keep_key,
                            const KeepValue& keep_value) const {
    const int feature = lane_feature();
    if (feature < key_dim) keep_key(feature, key(kv_head, position).read(0, feature));
    if (feature < value_dim) keep_value(feature, value(kv_head, position).read(0, feature));
  }

 private:
  static SINTER_MEMBER int lane_feature() { return again(lane()) * run; }
  template <int HeadDim>
  static SINTER_MEMBER void fetch_run(const float* head, float (&to)[run]) {
    const int feature = lane_feature();
#pragma clang loop unroll(full)
    for (int i = 0; i < run; ++i) to[i] = feature + i < HeadDim ? head[feature + i] : 0.0F;
  }
  template <class L>
  SINTER_MEMBER CachedRows<L> rows(u8* first, index kv_head, index position, int number) const {
    u8* const page = pages.template numbered<L::page_bytes>(first, number);
    const index row = L::row(kv_head, position);
    return {page + row * L::row_bytes, reinterpret_cast<f16*>(page + L::scales) + row * L::groups};
  }
};

}  // namespace sinter
