// Softmax over the positions of a sequence, in parts that may be computed anywhere and are brought
// together. A part is the largest score `top`, the sum of the weights 2^(score - top), and the sum
// of the values with these weights: scores are powers of two, the queries having been multiplied by
// log2(e).
#pragma once

#include "gpu/handing.h"
#include "gpu/heads.h"
#include "kv_cache.h"
#include "sizes.h"

namespace sinter {

constexpr float log2_e = 1.44269504F;
constexpr float masked = -1e30F;

// Splits of the positions of one KV head among blocks.
constexpr int least(int a, int b) { return a < b ? a : b; }
// They begin at multiples of so many positions, which therefore lie in one page.
constexpr int split_step = sizes::gpu_split_step;
static_assert(page_positions % split_step == 0);
template <class C>
constexpr int wanted_splits(int positions) {
  return static_cast<int>(sizes::gpu_wanted_splits(positions, C::widest));
}
// Of the positions that a row sees of `total`, from a multiple of split_step on, the most.
template <class C>
constexpr int most_seen(int total) {
  return C::reach == 0 ? total : least(total, C::reach + split_step - 1);
}
template <class C>
constexpr int most_splits = sizes::gpu_splits(C::kv_heads, C::reach, C::widest);

// Splits of what a row sees of the positions 0..total-1, its own being the last. They follow from
// that number alone: short contexts take few, long ones all that there are.
template <class C>
struct Splits {
  int count;  // those that have positions
  int chunk;
  int seen;   // the first position that is
  int first;  // where splits begin
  int total;

  static SINTER_MEMBER Splits of(int total) {
    const int seen = first_seen<C>(total - 1);
    const int first = seen / split_step * split_step;
    const int most = least(wanted_splits<C>(total - first), most_splits<C>);
    const int even = (total - first + most - 1) / most;
    const int chunk = (even + split_step - 1) / split_step * split_step;
    return {(total - first + chunk - 1) / chunk, chunk, seen, first, total};
  }
  // No fewer than any row has that has no more positions: a longer one may have fewer splits.
  static SINTER_MEMBER int most_of(int total) {
    return least(wanted_splits<C>(most_seen<C>(total)), most_splits<C>);
  }
  SINTER_MEMBER int begin(int split) const { return first + split * chunk; }
  SINTER_MEMBER int end(int split) const { return least(first + (split + 1) * chunk, total); }
};

// Of one row: what its splits hand to the last of them.
template <class C>
struct SplitBuffers {
  static constexpr int row = C::value_dim + 2;
  static constexpr index bytes = sizes::split_bytes(C::heads, most_splits<C>, C::value_dim);
  Handed* partials;  // [heads][most_splits][top, total, out...]

  static SINTER_MEMBER SplitBuffers at(unsigned char* base) {
    return {reinterpret_cast<Handed*>(base)};
  }
  SINTER_MEMBER Handed* of_head(index head) const { return partials + head * most_splits<C> * row; }
};

// What a score becomes before it is masked. tanh(x) = 1 - 2 / (e^2x + 1), of which the 1 is left
// out: softmax does not see what all scores have in common. What this loses near 0 is lost of
// scores as large as the cap anyway.
template <class C>
SINTER_INLINE float capped(float score) {
  if constexpr (C::softcap > 0.0F) {
    return -2.0F * C::softcap * log2_e * reciprocal(exp2(score * (2.0F / C::softcap)) + 1.0F);
  } else {
    return score;
  }
}

// The sink of a query head, as scores are.
template <class C>
SINTER_INLINE float sink_score(const C& c, index head) {
  return (load(c.sinks.scores + head) - C::softcap) * log2_e;
}

// A part at `Width` features.
template <int Width>
struct Softmax {
  float top = masked;
  float total = 0;
  float out[Width] = {};

  SINTER_MEMBER void merge(float its_top, float its_total, const float (&its)[Width]) {
    const float most = larger(top, its_top);
    const float keep = exp2(top - most);
    const float take = exp2(its_top - most);
    total = total * keep + its_total * take;
#pragma clang loop unroll(full)
    for (int i = 0; i < Width; ++i) out[i] = out[i] * keep + its[i] * take;
    top = most;
  }
  // `count` parts of `rows`, `stride` numbers apart, from a feature on. The loads of `AtOnce` are
  // under way together; of numbers that are handed over, until all of them are there.
  template <int AtOnce, class Number>
  SINTER_MEMBER void merge_all(const Number* rows, int count, index stride, int feature) {
#pragma clang loop unroll(disable)
    for (int first = 0; first < count; first += AtOnce) {
      u32 words[AtOnce][2 + Width];
      while (true) {
#pragma clang loop unroll(full)
        for (int i = 0; i < AtOnce; ++i) {
          const bool there = first + i < count;
          const Number* const row = rows + (first + i) * stride;
#pragma clang loop unroll(full)
          for (int j = 0; j < 2 + Width; ++j) {
            words[i][j] = nothing<Number>(j);
            if (there) words[i][j] = word_of(row[j < 2 ? j : feature + j]);
          }
        }
        bool all = true;
#pragma clang loop unroll(full)
        for (int i = 0; i < AtOnce; ++i)
#pragma clang loop unroll(full)
          for (int j = 0; j < 2 + Width; ++j) all &= is_there<Number>(words[i][j]);
        if (all) break;
        look_again();
      }
      const auto at = [&](int i, int j)
                          __attribute__((always_inline)) { return number_of<Number>(words[i][j]); };
      float most = top;
#pragma clang loop unroll(full)
      for (int i = 0; i < AtOnce; ++i) most = larger(most, at(i, 0));
      const float keep = exp2(top - most);
      total *= keep;
#pragma clang loop unroll(full)
      for (int j = 0; j < Width; ++j) out[j] *= keep;
#pragma clang loop unroll(full)
      for (int i = 0; i < AtOnce; ++i) {
        const float take = exp2(at(i, 0) - most);
        total += at(i, 1) * take;
#pragma clang loop unroll(full)
        for (int j = 0; j < Width; ++j) out[j] += at(i, 2 + j) * take;
      }
      top = most;
    }
  }

 private:
  // Number j of a part that has no positions.
  template <class Number>
  static SINTER_MEMBER u32 nothing(int j) {
    const u32 bits = __builtin_bit_cast(u32, j == 0 ? masked : 0.0F);
    return __is_same(Number, Handed) ? ~bits : bits;
  }
  static SINTER_MEMBER u32 word_of(const float& x) { return __builtin_bit_cast(u32, x); }
  static SINTER_MEMBER u32 word_of(const Handed& x) { return x.look(); }
  template <class Number>
  static SINTER_MEMBER bool is_there(u32 word) {
    return !__is_same(Number, Handed) || word != 0;
  }
  template <class Number>
  static SINTER_MEMBER float number_of(u32 word) {
    return __builtin_bit_cast(float, __is_same(Number, Handed) ? ~word : word);
  }
};

}  // namespace sinter
