// Attention of many rows without matrix units (attention_many_matrix.h). A block has one KV head
// and a tile: rows of the step times the heads of the group. Keys, then values, of some positions
// at a time come to shared memory as float32. Rows of several sequences in a tile take turns.
#pragma once

#include "gpu/attention_splits.h"
#include "gpu/attention_units.h"
#include "gpu/caches.h"

namespace sinter {

constexpr int attention_tile = sizes::Heads::tile;

template <class C>
struct AttentionTile {
  static constexpr int tokens = attention_tile / C::group < 1 ? 1 : attention_tile / C::group;
  // A group larger than a tile takes several.
  static constexpr int rows = tokens * C::group;
  static constexpr int passes = (rows + attention_tile - 1) / attention_tile;
  static constexpr int positions = C::shape.tile_positions();
  // Of queries and keys, of values, and of a row that holds either.
  static constexpr int key_stride = C::key_dim + 4;
  static constexpr int value_stride = C::value_dim + 4;
  static constexpr int row = C::widest + 4;
  static constexpr int score_stride = positions + 4;
  static_assert((attention_tile * key_stride + positions * row + attention_tile * score_stride) *
                    4 ==
                C::shape.lanes_tile_bytes());
};
template <class C, class L>
SINTER_INLINE void load_positions(const CachedRows<L>& from, index count, float* to) {
  using Tile = AttentionTile<C>;
  constexpr int chunks = L::dim / 8;
  constexpr int stride = L::dim + 4;
  for (int at = thread(); at < Tile::positions * chunks; at += threads) {
    const int p = at / chunks;
    const int feature = at % chunks * 8;
    typename C::Run x = {};
    if (p < count) x = from.read(p, feature);
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; i += 4)
      *reinterpret_cast<f32x4*>(to + p * stride + feature + i) = f32x4{
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
  constexpr int runs = (C::value_dim / 4 + sharing - 1) / sharing;
  float* const q = reinterpret_cast<float*>(shared_memory());
  float* const tile = q + attention_tile * Tile::key_stride;
  float* const scores = tile + Tile::positions * Tile::row;
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

    for (int d = mine * 4; d < C::key_dim; d += sharing * 4)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i)
        q[row * Tile::key_stride + d + i] =
            valid && d + i < C::qk_head_dim ? queries[head * C::qk_head_dim + d + i] : 0.0F;
    float top = masked;
    float total = 0;
    if constexpr (C::has_sinks)
      if (valid) {
        top = sink_score(caches, h * C::group + in_unit % C::group);
        total = 1;
      }
    f32x4 sum[runs] = {};
    int begin = first;  // of the rows of the sequence whose turn it is
    int stop = first;
    index p = 0;
    index end = 0;
    // Of this thread's row; 0 while it is not its turn.
    index limit = 0;
    index seen = 0;
    C c = caches;
#pragma clang loop unroll(disable)
    while (true) {
      if (p >= end) {
        if (stop == last) break;
        begin = stop;
        while (stop < last && steps[stop].sequence == steps[begin].sequence) ++stop;
        c = caches.of(launch, steps[begin].sequence);
        p = first_seen<C>(steps[begin].position) / Tile::positions * Tile::positions;
        end = steps[stop - 1].position + 1;
        const bool its_turn = valid && token >= begin && token < stop;
        limit = its_turn ? steps[token].position + 1 : 0;
        seen = its_turn ? first_seen<C>(steps[token].position) : 0;
      }
      barrier();
      load_positions<C>(c.key(h, p), end - p, tile);
      barrier();
      float score[score_count] = {};
#pragma clang loop unroll_count(4)
      for (int d = 0; d < C::key_dim; d += 4) {
        const auto a = *reinterpret_cast<const f32x4*>(q + row * Tile::key_stride + d);
#pragma clang loop unroll(full)
        for (int i = 0; i < score_count; ++i) {
          const auto k =
              *reinterpret_cast<const f32x4*>(tile + (i * sharing + mine) * Tile::key_stride + d);
#pragma clang loop unroll(full)
          for (int j = 0; j < 4; ++j) score[i] = fma(a[j], k[j], score[i]);
        }
      }
      float most = top;
#pragma clang loop unroll(full)
      for (int i = 0; i < score_count; ++i) {
        const index here = p + i * sharing + mine;
        score[i] = capped<C>(score[i]);
        if (here >= limit || !is_seen<C>(here, seen)) score[i] = masked;
        most = larger(most, score[i]);
      }
      most = max_lanes<sharing>(most);
      const float keep = exp2(top - most);
      top = most;
      float weights = 0;
#pragma clang loop unroll(full)
      for (int i = 0; i < score_count; ++i) {
        const float weight = score[i] <= 0.5F * masked ? 0.0F : exp2(score[i] - most);
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
          if (d < C::value_dim) {
            const auto v = *reinterpret_cast<const f32x4*>(tile + i * Tile::value_stride + d);
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
          if (d < C::v_head_dim) out[head * C::v_head_dim + d] = sum[r][i] / total;
        }
    barrier();
  }
}

}  // namespace sinter
