// One row's attention over a run of cached positions, by matrix units. A wave takes 16 positions at
// a time; keys are the left side of a product whose right side are queries, and values, with
// features as rows, that of one whose right side are weights. Keys, and values in codes, come
// through shared memory, a wave having a place of its own for them; values of float16 come to lanes
// in the order in which they are multiplied. While the one is multiplied the next of the other are
// under way.
//
// The right side has eight columns: four heads, each as two numbers of float16, what a query or
// weight is rounded to and what that leaves, so that products are as exact as in float32. Queries
// are scaled by a power of two and weights by 2^14, or else what they leave would be below what
// float16 knows; of weights that is then 2^-38. Codes become numbers of float16 without their
// scale; scores get that of keys afterwards. Values get the power of two in it, and weights the
// rest, which is 1 to 2.
#pragma once

#include "gpu/attention_splits.h"
#include "gpu/half_codes.h"

namespace sinter {

template <class C>
struct MatrixAttention {
  using Format = typename C::Format;
  using Left = HalfMatrix::Left;
  static constexpr bool fits = HalfMatrix::exists && C::shape.on_halves();
  static constexpr bool on_halves = true;
  static_assert(!C::coded || Format::group == 32);
  static constexpr int heads_at_once = C::shape.heads_at_once(on_halves);
  static constexpr int positions = sizes::Heads::positions_at_once;
  // Features of keys are multiplied 32 at a time, in two steps of 16. Of codes a lane has 8
  // neighbours, of which each step takes 4.
  static constexpr int runs = (C::key_dim + 31) / 32;
  // Keys or values of 16 positions in shared memory: rows, which begin in different banks; of codes
  // then their scales.
  template <class L>
  struct Part {
    static constexpr int row_bytes = L::row_bytes;
    static constexpr int row_stride = C::shape.cached_stride(L::dim);
    static constexpr int groups = L::groups;
    static constexpr int scales_at = positions * row_stride;
    static constexpr int bytes = C::shape.cached_bytes(L::dim);
    static_assert(bytes == scales_at + positions * groups * 2);

    static SINTER_MEMBER f16 scale(const u8* place, int position, int group) {
      return reinterpret_cast<const f16*>(place + scales_at)[position * groups + group];
    }
  };
  using Keys = Part<typename C::Keys>;
  using Values = Part<typename C::Values>;
  // A wave's place: keys; of codes then values.
  static constexpr int values_at = Keys::bytes;
  // Codes of 4 bits are so few bytes that the next positions come while all of these are
  // multiplied.
  static constexpr bool ahead = C::bits == 4;
  static constexpr int tile_bytes = C::shape.cached_tile_bytes();
  static_assert(C::shape.cached_place_bytes() == (ahead ? 2 : 1) * tile_bytes);
  // Queries: [tile of four heads][what they are rounded to, then what that leaves][feature], such
  // that lanes read from different banks; then a factor of every head.
  static constexpr int query_stride = C::shape.query_stride();
  static constexpr int query_tile = 8 * query_stride;
  static constexpr int query_bytes = C::shape.query_bytes();
  static_assert(query_bytes == heads_at_once / 4 * query_tile + heads_at_once * 4);
  // Values: runs of features of which a lane has `wide`; two to a tile of 16. Those of a run of
  // codes share a scale.
  static constexpr int wide = C::coded ? 4 : 8;
  static constexpr int value_runs = (C::value_dim + 8 * wide - 1) / (8 * wide);
  static constexpr int run_tiles = wide / 2;
  static constexpr int tiles = value_runs * run_tiles;
  static constexpr float weight_power = 14;
  static_assert(split_step % positions == 0);

  // A lane as rows and columns of tiles have it: half_matrix.h.
  struct Lane {
    int g, q;
    static SINTER_MEMBER Lane here() {
      const u32 here = static_cast<u32>(again(lane()));
      return {static_cast<int>(here / 4), static_cast<int>(here % 4)};
    }
  };
  // Positions of values are multiplied in the order 2 q, 2 q + 1, 2 q + 8, 2 q + 9.
  // The feature in row g, or g + 8, of a tile of values.
  static SINTER_MEMBER int feature(Lane me, int tile, int half) {
    return (tile / run_tiles * 8 + me.g) * wide + tile % run_tiles * 2 + half;
  }

  // Of a run of 32 features that which stands in half j of word k of lane q.
  static constexpr int query_feature(int lane_q, int k, int j) {
    return C::coded ? lane_q * 8 + HalfCodes<Format>::at(k * 2 + j) : k * 8 + lane_q * 2 + j;
  }

  // Query number i of those that are attended together; `row` is in shared memory. By a wave.
  static SINTER_MEMBER void keep_query(const float* row, int i, u8* kept) {
    float most = 0;
    const int here = again(lane());
    for (int d = here; d < C::key_dim; d += wave_size) most = larger(most, __builtin_fabsf(row[d]));
    most = max_size_of_lanes<wave_size>(most);
    // The largest is 256 to 512 then.
    u32 exponent = __builtin_bit_cast(u32, most) >> 23;
    exponent = exponent < 9 ? 9 : exponent;
    const float scale = __builtin_bit_cast(float, (262 - exponent) << 23);
    if (here == 0)
      reinterpret_cast<float*>(kept + heads_at_once / 4 * query_tile)[i] =
          __builtin_bit_cast(float, (exponent - 8) << 23);
    u8* const to = kept + i / 4 * query_tile + i % 4 * query_stride;
    for (int w = here; w < runs * 16; w += wave_size) {
      float two[2];
#pragma clang loop unroll(full)
      for (int j = 0; j < 2; ++j) {
        const int d = w / 16 * 32 + query_feature(w % 16 / 4, w % 4, j);
        two[j] = d < C::key_dim ? row[d] * scale : 0.0F;
      }
      u32 word = 0;
      u32 rest = 0;
      HalfMatrix::split(two[0], two[1], word, rest);
      reinterpret_cast<u32*>(to)[w] = word;
      reinterpret_cast<u32*>(to + 4 * query_stride)[w] = rest;
    }
  }

  // 16 positions come to a place; nothing stands for those that are not there.
  template <class L>
  static SINTER_MEMBER void copy(const CachedRows<L>& rows, index count, u8* place) {
    using P = Part<L>;
    constexpr int row_bytes = P::row_bytes;
    constexpr int size = row_bytes % 16 == 0 ? 16 : 8;
    constexpr int chunks = row_bytes / size;
    const int here = again(lane());
    if constexpr (wave_size % chunks == 0) {
      const int p = here / chunks;
      if (p < positions)
        copy_rows<P, size, 0, wave_size / chunks>(rows.codes + p * row_bytes + here % chunks * size,
                                                  count - p,
                                                  place + p * P::row_stride + here % chunks * size);
    } else {
#pragma clang loop unroll(disable)
      for (int at = here; at < positions * chunks; at += wave_size) {
        const int p = at / chunks;
        const bool there = p < count;
        copy_to_shared<size>(place + p * P::row_stride + at % chunks * size,
                             rows.codes + (there ? p * row_bytes + at % chunks * size : 0),
                             there ? size : 0);
      }
    }
    if constexpr (C::coded) {
      constexpr int chunk = 16;
      constexpr int bytes = positions * P::groups * 2;
      static_assert(bytes % chunk == 0 && bytes <= wave_size * chunk);
      const index left = count * P::groups * 2 - here * chunk;
      if (here * chunk < bytes)
        copy_to_shared(place + P::scales_at + here * chunk,
                       reinterpret_cast<const u8*>(rows.scales) + (left > 0 ? here * chunk : 0),
                       left > 0 ? (left < chunk ? static_cast<int>(left) : chunk) : 0);
    }
    end_copies();
  }
  // All but the last `Runs` that were copied are there.
  template <int Runs>
  static SINTER_MEMBER void await_all_but() {
    await_copies_but<Runs>();
    wave_barrier();
  }

  // 16 positions from `first` on, a multiple of 16, of those before `end`.
  struct Batch {
    u32x4 values[C::coded ? 1 : value_runs][4];

    SINTER_MEMBER void read_keys(const C& c, index kv_head, int page, index first, index end,
                                 u8* place) {
      copy(c.key(kv_head, first, page), end - first, place);
    }
    SINTER_MEMBER void read_values(Lane me, const C& c, index kv_head, int page, index first,
                                   index end, u8* place) {
      const auto rows = c.value(kv_head, first, page);
      if constexpr (C::coded) {
        copy(rows, end - first, place + values_at);
      } else {
        constexpr int row_bytes = Values::row_bytes;
        const u8* const from = rows.codes + me.q * 2 * row_bytes + me.g * wide * 2;
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; ++i)
#pragma clang loop unroll(full)
          for (int r = 0; r < value_runs; ++r) {
            const int of = i / 2 * 8 + i % 2;  // from the first position of the lane
            const bool there =
                (r + 1) * 8 * wide <= C::value_dim || (r * 8 + me.g) * wide < C::value_dim;
            values[r][i] = u32x4{0, 0, 0, 0};
            if (me.q * 2 < end - first - of && there)
              values[r][i] =
                  *reinterpret_cast<const u32x4*>(from + of * row_bytes + r * 8 * wide * 2);
          }
      }
    }
    // This wave's of those from `begin` on. `place`: this wave's.
    SINTER_MEMBER void read(const C& c, index kv_head, index begin, index end, u8* place) {
      const index first = begin + wave() * positions;
      if (first >= end) return;
      const int page = c.pages.number(first);
      read_keys(c, kv_head, page, first, end, place);
      read_values(Lane::here(), c, kv_head, page, first, end, place);
    }
    // When others may be under way to it.
    SINTER_MEMBER void read_again(const C& c, index kv_head, index begin, index end, u8* place) {
      await_all_but<0>();
      read(c, kv_head, begin, end, place);
    }
  };

  // Queries of `Heads` heads, as keep_query() left them, over positions begin..end-1, of which
  // `batch` holds the first and those before `seen` do not count. The result is in `place` as
  // [Heads][value_dim + 2].
  template <int Heads>
  static SINTER_MEMBER void attend(const C& c, index kv_head, const float*, const u8* kept,
                                   index begin, index end, index seen, Batch batch, u8* place) {
    constexpr int columns = (Heads + 3) / 4;  // tiles of four heads
    const Lane me = Lane::here();
    constexpr index round = waves * positions;
    const float* const factors =
        reinterpret_cast<const float*>(kept + heads_at_once / 4 * query_tile);
    // Of heads 2 q and 2 q + 1 of a tile, where q is even or odd.
    const int head = me.q % 2 * 2;
    float sum[columns][tiles][4] = {};
    float top[columns][2];
    float total[columns][2] = {};
    float factor[columns][2];
#pragma clang loop unroll(full)
    for (int n = 0; n < columns; ++n)
#pragma clang loop unroll(full)
      for (int i = 0; i < 2; ++i) {
        top[n][i] = masked;
        factor[n][i] = factors[n * 4 + head + i];
      }

#pragma clang loop unroll(disable)
    for (index first = begin + wave() * positions; first < end; first += round) {
      // Those after these; the number of their page comes before it is needed.
      const index next = first + round;
      const int page = next < end ? c.pages.number(next) : 0;
      float score[columns][4] = {};
      float score_of_odd[columns][4] = {};  // a sum is not there at once
      u8* const here = place + (ahead ? (first - begin) / round % 2 * tile_bytes : 0);
      if constexpr (ahead) {
        u8* const there = place + tile_bytes - (here - place);
        if (next < end) {
          batch.read_keys(c, kv_head, page, next, end, there);
          batch.read_values(me, c, kv_head, page, next, end, there);
          await_all_but<2>();
        } else {
          await_all_but<0>();
        }
      } else {
        // Of keys and values one is multiplied while the other is under way.
        await_all_but<C::coded ? 1 : 0>();
      }
      multiply_keys<0>(me, here, kept, score, score_of_odd);
      wave_barrier();  // all lanes have read them
      if (!ahead && next < end) batch.read_keys(c, kv_head, page, next, end, here);
      // Both numbers of a query, then the weights of positions g and g + 8.
#pragma clang loop unroll(full)
      for (int n = 0; n < columns; ++n)
#pragma clang loop unroll(full)
        for (int i = 0; i < 2; ++i) {
          float most = top[n][i];
#pragma clang loop unroll(full)
          for (int s = 0; s < 2; ++s) {
            float& x = score[n][2 * s + i];
            x += score_of_odd[n][2 * s + i];
            x += shuffle_xor(x, 2);
            const index p = first + me.g + 8 * s;
            x = p < end && is_seen<C>(p, seen) ? capped<C>(x * factor[n][i]) : masked;
            most = larger(most, x);
          }
#pragma clang loop unroll(full)
          for (int mask = 4; mask < 32; mask *= 2) most = larger(most, shuffle_xor(most, mask));
          const float keep = exp2(top[n][i] - most);
          top[n][i] = most;
          total[n][i] *= keep;
#pragma clang loop unroll(full)
          for (int t = 0; t < tiles; ++t) {
            sum[n][t][i] *= keep;
            sum[n][t][i + 2] *= keep;
          }
#pragma clang loop unroll(full)
          for (int s = 0; s < 2; ++s) {
            float& x = score[n][2 * s + i];
            x = x <= 0.5F * masked ? 0.0F : exp2(x - most + weight_power);
            total[n][i] += x;
          }
        }
      if constexpr (C::coded) {
        if (!ahead) {
          if (next < end) {
            await_all_but<1>();
          } else {
            await_all_but<0>();
          }
        }
        multiply_codes<0>(me, here + values_at, score, sum);
        wave_barrier();
      } else {
        HalfMatrix::Right weight[columns];
#pragma clang loop unroll(full)
        for (int n = 0; n < columns; ++n) weight[n] = weights_of(me, score[n], {1.0F, 1.0F});
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles; ++t) {
          const auto& of = batch.values[t / run_tiles];
          const int k = t % run_tiles;
          const Left left = {{permute_bytes(of[0][k], of[1][k], 0x5410U),
                              permute_bytes(of[0][k], of[1][k], 0x7632U),
                              permute_bytes(of[2][k], of[3][k], 0x5410U),
                              permute_bytes(of[2][k], of[3][k], 0x7632U)}};
#pragma clang loop unroll(full)
          for (int n = 0; n < columns; ++n) HalfMatrix::multiply(sum[n][t], left, weight[n]);
        }
      }
      if (!ahead && next < end) batch.read_values(me, c, kv_head, page, next, end, here);
    }
    float* const partials = reinterpret_cast<float*>(place);
#pragma clang loop unroll(full)
    for (int n = 0; n < columns; ++n) {
      // Half of the lanes bring together the one half of the tiles, half the other.
      constexpr int half = tiles / 2;
      const bool later = me.q >= 2;
#pragma clang loop unroll(full)
      for (int t = 0; t < half; ++t)
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; ++i) {
          const float here = sum[n][t][i];
          const float there = sum[n][t + half][i];
          const float both = (later ? there : here) + shuffle_xor(later ? here : there, 2);
          const int h = n * 4 + head + i % 2;
          const int d =
              feature(me, 0, 0) + (later ? feature({}, t + half, i / 2) : feature({}, t, i / 2));
          if (h < Heads && d < C::value_dim) partials[h * (C::value_dim + 2) + 2 + d] = both;
        }
#pragma clang loop unroll(full)
      for (int i = 0; i < 2; ++i) {
        float all = total[n][i];
#pragma clang loop unroll(full)
        for (int mask = 4; mask < 32; mask *= 2) all += shuffle_xor(all, mask);
        const int h = n * 4 + head + i;
        float* const to = partials + h * (C::value_dim + 2);
        if (me.g == 0 && me.q < 2 && h < Heads) {
          to[0] = top[n][i] - weight_power;
          to[1] = all;
        }
      }
    }
  }

 private:
  // Scores of 16 positions from run R of their features on, and of every other run from the next
  // on.
  template <int R, int Columns>
  static SINTER_MEMBER void multiply_keys(Lane me, const u8* place, const u8* kept,
                                          float (&score)[Columns][4], float (&of_odd)[Columns][4]) {
    if constexpr (R < runs) {
      const auto multiply = [&](int step, const Left& left,
                                float (&to)[Columns][4]) __attribute__((always_inline)) {
#pragma clang loop unroll(full)
        for (int n = 0; n < Columns; ++n) {
          const auto query = *reinterpret_cast<const u32x2*>(
              kept + n * query_tile + me.g * query_stride + me.q * 16 + R * 64 + step * 8);
          HalfMatrix::multiply(to[n], left, {{query[0], query[1]}});
        }
      };
      if constexpr (C::coded) {
        using Codes = HalfCodes<Format>;
        using Stored = typename C::Run::Stored;
        Stored codes[2];
        float scale[2];
#pragma clang loop unroll(full)
        for (int s = 0; s < 2; ++s) {
          const int p = me.g + 8 * s;
          codes[s] = *reinterpret_cast<const Stored*>(place + p * Keys::row_stride +
                                                      (R * 4 + me.q) * C::bits);
          scale[s] = static_cast<float>(Keys::scale(place, p, R));
        }
        float part[Columns][4] = {};
#pragma clang loop unroll(full)
        for (int step = 0; step < 2; ++step) {
          Left left;
#pragma clang loop unroll(full)
          for (int i = 0; i < 4; ++i)
            left.words[i] = __builtin_bit_cast(
                u32, Codes::numbers(Codes::word(codes[i % 2], step * 2 + i / 2)));
          multiply(step, left, part);
        }
#pragma clang loop unroll(full)
        for (int n = 0; n < Columns; ++n)
#pragma clang loop unroll(full)
          for (int i = 0; i < 4; ++i) score[n][i] = fma(part[n][i], scale[i / 2], score[n][i]);
      } else {
        multiply(0, HalfMatrix::read_left<R * 64>(place, Keys::row_stride), score);
        if constexpr (R * 32 + 16 < C::key_dim)
          multiply(1, HalfMatrix::read_left<R * 64 + 32>(place, Keys::row_stride), score);
      }
      multiply_keys<R + 1>(me, place, kept, of_odd, score);
    }
  }

  // Weighted sums of the values of 16 positions from a run of their features on.
  template <int R, int Columns>
  static SINTER_MEMBER void multiply_codes(Lane me, const u8* place,
                                           const float (&score)[Columns][4],
                                           float (&sum)[Columns][tiles][4]) {
    if constexpr (R < value_runs) {
      using Codes = HalfCodes<Format>;
      u32 codes[4];
      f16x2 power[2];
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) {
        const int p = i / 2 * 8 + me.q * 2 + i % 2;
        const u8* const from =
            place + p * Values::row_stride + (R * 8 + me.g) * (wide * C::bits / 8);
        if constexpr (C::bits == 8) {
          codes[i] = *reinterpret_cast<const u32*>(from);
        } else {
          codes[i] = *reinterpret_cast<const u16*>(from);
        }
        power[i / 2][i % 2] = Values::scale(place, p, R);
      }
      // The powers of two in the scales, none of which is a subnormal; weights get the rest.
#pragma clang loop unroll(full)
      for (int i = 0; i < 2; ++i)
        power[i] = __builtin_bit_cast(f16x2, __builtin_bit_cast(u32, power[i]) & 0x7c007c00U);
      float rest[2];
#pragma clang loop unroll(full)
      for (int s = 0; s < 2; ++s) {
        const auto scale = static_cast<float>(Values::scale(place, me.g + 8 * s, R));
        const u32 exponent = __builtin_bit_cast(u32, scale) & 0x7f800000U;
        rest[s] = scale * __builtin_bit_cast(float, (254U << 23) - exponent);
      }
      HalfMatrix::Right weight[Columns];
#pragma clang loop unroll(full)
      for (int n = 0; n < Columns; ++n) weight[n] = weights_of(me, score[n], rest);
#pragma clang loop unroll(full)
      for (int k = 0; k < run_tiles; ++k) {
        Left left;
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; ++i) {
          const int from = i / 2 * 2;
          const u32 both = Codes::pair(codes[from], codes[from + 1], k * 2 + i % 2);
          left.words[i] = __builtin_bit_cast(u32, Codes::numbers(both) * power[i / 2]);
        }
#pragma clang loop unroll(full)
        for (int n = 0; n < Columns; ++n)
          HalfMatrix::multiply(sum[n][R * run_tiles + k], left, weight[n]);
      }
      multiply_codes<R + 1>(me, place, score, sum);
    }
  }

  // The weights of positions g and g + 8, each times a factor, as a right side.
  static SINTER_MEMBER HalfMatrix::Right weights_of(Lane me, const float (&weight)[4],
                                                    const float (&factor)[2]) {
    HalfMatrix::Right out;
#pragma clang loop unroll(full)
    for (int s = 0; s < 2; ++s) {
      u32 word = 0;
      u32 rest = 0;
      HalfMatrix::split(weight[2 * s] * factor[s], weight[2 * s + 1] * factor[s], word, rest);
      out.words[s] = HalfMatrix::transpose(me.q < 2 ? word : rest);
    }
    return out;
  }

 public:
  // Every `Step`th position from `I` on, of `count`.
  template <class P, int Size, int I, int Step>
  static SINTER_MEMBER void copy_rows(const u8* from, index count, u8* to) {
    if constexpr (I < positions) {
      copy_to_shared<Size, I * P::row_stride, I * P::row_bytes>(to, from, I < count ? Size : 0);
      copy_rows<P, Size, I + Step, Step>(from, count, to);
    }
  }
};

}  // namespace sinter
