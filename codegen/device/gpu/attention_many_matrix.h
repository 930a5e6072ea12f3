// Attention of many rows by matrix units. A block has one KV head and a tile: rows of the step
// times the heads of the group, 16 to a wave. Keys, then values, of some positions at a time come
// to shared memory as they are, each while the block works on the other.
//
// Cached numbers are float16. Codes become such by the power of two in their scale; what is left of
// it, 1 to 2, goes into scores and weights. A query is two numbers of float16, what it is rounded
// to and what that leaves, and so is a weight of the softmax: products are as exact as in float32.
// Queries are scaled by a power of two and weights by 2^14: else what they leave would be below
// what float16 knows; of weights that is then 2^-38.
#pragma once

#include "gpu/attention_splits.h"
#include "gpu/attention_units.h"
#include "gpu/half_codes.h"

namespace sinter {

template <class C>
struct HalfTile {
  static constexpr bool fits = HalfMatrix::exists && C::shape.on_halves();
  static constexpr int rows_of_wave = 16;
  static constexpr int wide = waves * rows_of_wave;
  static constexpr int tokens = wide / C::group < 1 ? 1 : wide / C::group;
  // A group larger than a tile takes several.
  static constexpr int rows = tokens * C::group;
  static constexpr int passes = (rows + wide - 1) / wide;
  static constexpr int positions = C::shape.half_positions();
  static constexpr float weight_power = 14;
  // Features of a key are taken 32 at a time: 8 neighbours to a lane, whose loads of 16 bytes use
  // different banks where rows lie 64 bytes apart beyond multiples of 128.
  static constexpr int runs = (C::key_dim + 31) / 32;
  static_assert(!C::coded || C::Format::group == 32);
  static constexpr int key_stride = C::shape.query_stride();
  // Of values 16 bytes of neighbouring positions are taken at once.
  static constexpr int value_stride = C::shape.half_value_stride();
  static constexpr int numbers = positions * (key_stride + value_stride);
  // Of codes, the scales of keys, then those of values.
  static constexpr int key_scales = positions * C::Keys::groups;
  static_assert(numbers + (key_scales + positions * C::Values::groups) * 4 ==
                C::shape.half_tile_bytes());
};

// Keys or values of `count` positions, as many features as are multiplied; of codes their numbers,
// and apart from them the scale of every 32.
template <class C, int Features, int Stride, class L>
SINTER_INLINE void copy_positions(const CachedRows<L>& from, index count, u8* to, float* scales) {
  constexpr int chunks = Features / 8;
#pragma clang loop unroll(disable)
  for (int i = 0; i < (HalfTile<C>::positions * chunks + threads - 1) / threads; ++i) {
    const int at = i * threads + thread();
    const int p = at / chunks;
    const int feature = at % chunks * 8;
    if (p >= HalfTile<C>::positions) continue;
    const bool there = p < count && feature < L::dim;
    u8* const here = to + p * Stride + feature * 2;
    if constexpr (!C::coded) {
      copy_to_shared(here, there ? from.codes + (p * L::dim + feature) * 2 : from.codes,
                     there ? 16 : 0);
    } else {
      f16x2 numbers[4] = {};
      float scale = 0;
      if (there) {
        const auto cached = from.read(p, feature);
        HalfCodes<typename C::Format>::eight(cached.codes, numbers);
        const float whole = cached.scaled(1.0F);
        const u32 exponent = __builtin_bit_cast(u32, whole) & 0x7f800000U;
        const f16 power = static_cast<f16>(__builtin_bit_cast(float, exponent));
        scale = whole * __builtin_bit_cast(float, (254U << 23) - exponent);
#pragma clang loop unroll(full)
        for (int k = 0; k < 4; ++k) numbers[k] *= f16x2{power, power};
      }
      *reinterpret_cast<u32x4*>(here) =
          u32x4{__builtin_bit_cast(u32, numbers[0]), __builtin_bit_cast(u32, numbers[1]),
                __builtin_bit_cast(u32, numbers[2]), __builtin_bit_cast(u32, numbers[3])};
      if (feature % 32 == 0) scales[p * L::groups + feature / 32] = scale;
    }
  }
}

// A run of positions of one sequence of a tile.
template <class C>
struct TileTurn {
  C cache;
  int begin, stop;  // rows of the step: those of the sequence whose turn it is
  index p, end;     // positions

  // The turn of the rows from `first` on, or none where that is `last`.
  static SINTER_MEMBER TileTurn of(const Launch* launch, const C& caches, int first, int last) {
    TileTurn turn{caches, first, first, 0, 0};
    if (first >= last) return turn;
    const StepRow* const steps = step_rows(launch);
    constexpr int positions = HalfTile<C>::positions;
    turn.p = first_seen<C>(steps[first].position) / positions * positions;
    while (turn.stop < last && steps[turn.stop].sequence == steps[first].sequence) ++turn.stop;
    turn.cache = caches.of(launch, steps[first].sequence);
    turn.end = steps[turn.stop - 1].position + 1;
    return turn;
  }
  SINTER_MEMBER bool exists() const { return p < end; }
  SINTER_MEMBER void copy_keys(index kv_head, u8* to, float* scales) const {
    using Tile = HalfTile<C>;
    copy_positions<C, Tile::runs * 32, Tile::key_stride>(cache.key(kv_head, p), end - p, to,
                                                         scales);
  }
  SINTER_MEMBER void copy_values(index kv_head, u8* to, float* scales) const {
    copy_positions<C, C::value_dim, HalfTile<C>::value_stride>(cache.value(kv_head, p), end - p, to,
                                                               scales);
  }
  SINTER_MEMBER TileTurn next(const Launch* launch, const C& caches, int last) const {
    TileTurn turn = *this;
    turn.p += HalfTile<C>::positions;
    return turn.p < end ? turn : of(launch, caches, stop, last);
  }
};

// A query head of a row, in a lane's order; two of them to a lane.
template <class C>
struct TileRow {
  bool valid;
  int token;
  index head;    // among all of the step
  float factor;  // of scores
  float top = masked;
  float total = 0;

  static SINTER_MEMBER TileRow of(const C& caches, int in_unit, int first, int last,
                                  index kv_head) {
    TileRow row;
    row.token = first + in_unit / C::group;
    row.valid = in_unit < HalfTile<C>::rows && row.token < last;
    row.head = index{row.token} * C::heads + kv_head * C::group + in_unit % C::group;
    if constexpr (C::has_sinks)
      if (row.valid) {
        row.top = sink_score(caches, kv_head * C::group + in_unit % C::group);
        row.total = exp2(HalfTile<C>::weight_power);
      }
    return row;
  }
  // Words 4 run .. 4 run + 3 of the query and of what they leave.
  SINTER_MEMBER void read(const float* queries, u32 (&query)[HalfTile<C>::runs][4],
                          u32 (&rest)[HalfTile<C>::runs][4]) {
    constexpr int runs = HalfTile<C>::runs;
    float x[runs][8];
    float most = 0;
#pragma clang loop unroll(full)
    for (int run = 0; run < runs; ++run)
#pragma clang loop unroll(full)
      for (int i = 0; i < 8; ++i) {
        const int d = run * 32 + lane() % 4 * 8 + i;
        x[run][i] = valid && d < C::qk_head_dim ? queries[head * C::qk_head_dim + d] : 0.0F;
        most = larger(most, __builtin_fabsf(x[run][i]));
      }
    most = larger(most, shuffle_xor(most, 1));
    most = larger(most, shuffle_xor(most, 2));
    // The largest is 256 to 512 then.
    u32 exponent = __builtin_bit_cast(u32, most) >> 23;
    exponent = exponent < 9 ? 9 : exponent;
    const float scale = __builtin_bit_cast(float, (262 - exponent) << 23);
    factor = __builtin_bit_cast(float, (exponent - 8) << 23);
#pragma clang loop unroll(full)
    for (int run = 0; run < runs; ++run)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i)
        HalfMatrix::split(x[run][2 * i] * scale, x[run][2 * i + 1] * scale, query[run][i],
                          rest[run][i]);
  }
};

template <class C>
SINTER_INLINE void attention_by_tiles(const Launch* launch, const C& caches, const float* queries,
                                      float* out) {
  using Tile = HalfTile<C>;
  constexpr int columns = Tile::positions / 8;  // tiles of scores
  constexpr int features = C::value_dim / 8;    // tiles of the result
  u8* const keys = shared_memory();
  u8* const values = keys + Tile::positions * Tile::key_stride;
  float* const key_scales = reinterpret_cast<float*>(keys + Tile::numbers);
  float* const value_scales = key_scales + Tile::key_scales;
  // Features whose weights of the softmax are the same numbers: codes have their scales in them.
  constexpr int span = C::coded ? 4 : features;
  const StepRow* const steps = step_rows(launch);
  const int tokens = launch->step->rows;

  for (index unit = launch->worker; unit < TileUnit::count<C, Tile>(tokens);
       unit += launch->workers) {
    const auto [h, pass, first, last] = TileUnit::of<C, Tile>(unit, tokens);
    const int in_unit = pass * Tile::wide + wave() * Tile::rows_of_wave + lane() / 4;
    auto turn = TileTurn<C>::of(launch, caches, first, last);
    turn.copy_keys(h, keys, key_scales);

    TileRow<C> rows[2] = {TileRow<C>::of(caches, in_unit, first, last, h),
                          TileRow<C>::of(caches, in_unit + 8, first, last, h)};
    u32 query[2][Tile::runs][4];
    u32 rest[2][Tile::runs][4];
#pragma clang loop unroll(full)
    for (int r = 0; r < 2; ++r) rows[r].read(queries, query[r], rest[r]);
    float sum[features][4] = {};

#pragma clang loop unroll(disable)
    while (turn.exists()) {
      // Positions that a row sees of these: from[r] .. seen[r] - 1.
      int from[2];
      int seen[2];
#pragma clang loop unroll(full)
      for (int r = 0; r < 2; ++r) {
        from[r] = seen[r] = 0;
        if (!rows[r].valid || rows[r].token < turn.begin || rows[r].token >= turn.stop) continue;
        const int position = steps[rows[r].token].position;
        from[r] = first_seen<C>(position) - static_cast<int>(turn.p);
        seen[r] = position + 1 - static_cast<int>(turn.p);
      }
      await_copies();
      barrier();
      turn.copy_values(h, values, value_scales);
      float score[columns][4] = {};
#pragma clang loop unroll(full)
      for (int run = 0; run < Tile::runs; ++run)
#pragma clang loop unroll(full)
        for (int n = 0; n < columns; ++n) {
          const auto key = *reinterpret_cast<const u32x4*>(
              keys + (n * 8 + lane() / 4) * Tile::key_stride + run * 64 + lane() % 4 * 16);
          float part[4] = {};
          float (&to)[4] = C::coded ? part : score[n];
#pragma clang loop unroll(full)
          for (int i = 0; i < 4; i += 2) {
            const HalfMatrix::Right right{{key[i], key[i + 1]}};
            HalfMatrix::multiply(
                to,
                {{query[0][run][i], query[1][run][i], query[0][run][i + 1], query[1][run][i + 1]}},
                right);
            HalfMatrix::multiply(
                to, {{rest[0][run][i], rest[1][run][i], rest[0][run][i + 1], rest[1][run][i + 1]}},
                right);
          }
          if constexpr (C::coded)
#pragma clang loop unroll(full)
            for (int i = 0; i < 4; ++i)
              score[n][i] =
                  fma(part[i], key_scales[(n * 8 + lane() % 4 * 2 + i % 2) * C::Keys::groups + run],
                      score[n][i]);
        }
      // Weights are powers of two.
#pragma clang loop unroll(full)
      for (int r = 0; r < 2; ++r) {
        float most = rows[r].top;
#pragma clang loop unroll(full)
        for (int n = 0; n < columns; ++n)
#pragma clang loop unroll(full)
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            const int position = n * 8 + lane() % 4 * 2 + i % 2;
            score[n][i] = position < seen[r] && is_seen<C>(position, from[r])
                              ? capped<C>(score[n][i] * rows[r].factor)
                              : masked;
            most = larger(most, score[n][i]);
          }
        most = larger(most, shuffle_xor(most, 1));
        most = larger(most, shuffle_xor(most, 2));
        const float keep = exp2(rows[r].top - most);
        rows[r].top = most;
        float weights = 0;
#pragma clang loop unroll(full)
        for (int n = 0; n < columns; ++n)
#pragma clang loop unroll(full)
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            score[n][i] =
                score[n][i] <= 0.5F * masked ? 0.0F : exp2(score[n][i] - most + Tile::weight_power);
            weights += score[n][i];
          }
        weights += shuffle_xor(weights, 1);
        weights += shuffle_xor(weights, 2);
        rows[r].total = rows[r].total * keep + weights;
#pragma clang loop unroll(full)
        for (int n = 0; n < features; ++n)
#pragma clang loop unroll(full)
          for (int i = 2 * r; i < 2 * r + 2; ++i) sum[n][i] *= keep;
      }
      const auto next = turn.next(launch, caches, last);
      await_copies();
      barrier();
      if (next.exists()) next.copy_keys(h, keys, key_scales);
#pragma clang loop unroll(full)
      for (int k = 0; k < columns; k += 2)
#pragma clang loop unroll(full)
        for (int first_of = 0; first_of < features; first_of += span) {
          HalfMatrix::Left weight;
          HalfMatrix::Left left_over;
#pragma clang loop unroll(full)
          for (int i = 0; i < 4; ++i) {
            float two[2] = {score[k + i / 2][i % 2 * 2], score[k + i / 2][i % 2 * 2 + 1]};
            if constexpr (C::coded)
#pragma clang loop unroll(full)
              for (int j = 0; j < 2; ++j)
                two[j] *= value_scales[((k + i / 2) * 8 + lane() % 4 * 2 + j) * C::Values::groups +
                                       first_of / span];
            HalfMatrix::split(two[0], two[1], weight.words[i], left_over.words[i]);
          }
#pragma clang loop unroll(full)
          for (int n = first_of; n < first_of + span && n < features; n += 2) {
            HalfMatrix::Right right[2];
            HalfMatrix::read_rows(values + k * 8 * Tile::value_stride + n * 16, Tile::value_stride,
                                  right);
#pragma clang loop unroll(full)
            for (int i = 0; i < 2; ++i) {
              HalfMatrix::multiply(sum[n + i], weight, right[i]);
              HalfMatrix::multiply(sum[n + i], left_over, right[i]);
            }
          }
        }
      turn = next;
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < 2; ++r) {
      if (!rows[r].valid) continue;
#pragma clang loop unroll(full)
      for (int n = 0; n < features; ++n)
#pragma clang loop unroll(full)
        for (int i = 0; i < 2; ++i) {
          const int d = n * 8 + lane() % 4 * 2 + i;
          if (d < C::v_head_dim)
            out[rows[r].head * C::v_head_dim + d] = sum[n][2 * r + i] / rows[r].total;
        }
    }
  }
}

}  // namespace sinter
