// Selective scans along the rows of a sequence. Channels are independent of one another, so a block
// has the states of some of a group's, in registers, while it goes over the rows of a sequence; its
// waves only meet to share b and c, which all of them need of those. The state is read and written
// once in a step, and each row of a step has the bits that it has alone, whatever the number of
// rows.
#pragma once

#include "gpu/delta.h"
#include "scan_shape.h"

namespace sinter {

// What a block has of the state: a channel for each of its threads' groups, whose lanes have four
// columns each, and those again that stand 4 * lanes behind.
template <class S>
struct ScanBlock {
  static constexpr int group = static_cast<int>(sizes::scan_group(S::run));
  static constexpr int height = threads / group;  // channels
  static constexpr int splits = (S::group_channels + height - 1) / height;
  static constexpr int fours = (S::run / 4 + group - 1) / group;
  static constexpr bool uneven = S::run / 4 % group != 0;
  f32x4 s[fours];
  f32x4 rates[S::by_column ? fours : 1];

  static SINTER_MEMBER int channel() { return thread() / group; }
  static SINTER_MEMBER int column(int j) { return (j * group + thread() % group) * 4; }
  static SINTER_MEMBER bool has(int j) { return !uneven || column(j) < S::run; }

  // f(number of four, its first column), for those that there are, of `count` channels.
  template <class F>
  static SINTER_MEMBER void for_each(int count, const F& f) {
#pragma clang loop unroll(full)
    for (int j = 0; j < fours; ++j)
      if (channel() < count && has(j)) f(j, column(j));
  }
  // `first`: the row of the state of the block's first channel, whose number is `number`.
  template <class A>
  SINTER_MEMBER void load_from(const float* first, const A* a, index number, int count) {
#pragma clang loop unroll(full)
    for (int j = 0; j < fours; ++j) s[j] = f32x4(0.0F);
#pragma clang loop unroll(full)
    for (int j = 0; j < (S::by_column ? fours : 0); ++j) rates[j] = f32x4(0.0F);
    const float* const row = first + channel() * S::run;
    for_each(count, [&](int j, int k) {
      s[j] = *reinterpret_cast<const f32x4*>(row + k);
      if constexpr (S::by_column) {
        const A* const of_head = a + S::head(number + channel()) * S::columns;
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; ++i)
          if (k + i < S::columns) rates[j][i] = load(of_head + k + i);
      }
    });
  }
  SINTER_MEMBER void store_to(float* first, int count) {
    float* const row = first + channel() * S::run;
    for_each(count, [&](int j, int k) { *reinterpret_cast<f32x4*>(row + k) = s[j]; });
  }

  // One row: S = e^(step a) S + input b^T, y = S c, of which every lane of the group has the sum.
  // `decay`: that of the channel or, where it is by column, its step.
  SINTER_MEMBER float step(const float* b, const float* c, float decay, float input) {
    f32x4 sums(0.0F);
#pragma clang loop unroll(full)
    for (int j = 0; j < fours; ++j) {
      if (!has(j)) continue;
      const f32x4 to = *reinterpret_cast<const f32x4*>(b + column(j));
      const f32x4 from = *reinterpret_cast<const f32x4*>(c + column(j));
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) {
        float factor = decay;
        if constexpr (S::by_column) factor = exp(decay * rates[j][i]);
        s[j][i] = fma(input, to[i], s[j][i] * factor);
        sums[i] = fma(s[j][i], from[i], sums[i]);
      }
    }
    return sum_lanes<group>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
};

// What a block needs of some rows of a sequence, and what it makes of them, in shared memory.
template <class S, int Rows>
struct ScanTile {
  static constexpr int height = ScanBlock<S>::height;
  float* b;      // [Rows][run]
  float* c;      // [Rows][run]
  float* x;      // [Rows][height]
  float* input;  // [Rows][height]: x times the step
  float* decay;  // [Rows][height]: or the step, where decays are by column
  float* y;      // [Rows][height]

  static SINTER_MEMBER ScanTile of(u8* base) {
    ScanTile tile;
    tile.b = reinterpret_cast<float*>(base);
    tile.c = tile.b + Rows * S::run;
    tile.x = tile.c + Rows * S::run;
    tile.input = tile.x + Rows * height;
    tile.decay = tile.input + Rows * height;
    tile.y = tile.decay + Rows * height;
    return tile;
  }
};

// x(row, channel, channels left) and step(row, head, heads left) give numbers, b and c are rows of
// groups, a and d vectors; after(row, channel, channels left, y) takes what the scan gives. Rows:
// of a sequence that are in shared memory at once. Early: the block fetches its part of the state
// before it awaits the phase before.
template <class S, int Rows, bool Early, class X, class Step, class B, class C, class A, class D,
          class After>
SINTER_INLINE void selective_scan(const Launch* launch, const typename S::State& state, const X& x,
                                  const Step& step, const B& b, const C& c, const A* a, const D* d,
                                  const After& after) {
  using Block = ScanBlock<S>;
  constexpr int parts = S::groups * Block::splits;
  const auto tile = ScanTile<S, Rows>::of(shared_memory());
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  bool awaits = Early;
  int number = launch->worker;  // of the next unit of a sequence
  for (index begin = 0; begin < rows;) {
    const index end = end_of_sequence(table, begin, rows);
    for (; number < parts; number += launch->workers) {
      const int group = number / Block::splits;
      const int inside = number % Block::splits * Block::height;
      const int left = S::group_channels - inside;
      const int count = left < Block::height ? left : Block::height;
      const index first = index{group} * S::group_channels + inside;
      float* const channels = state.run(table[begin].sequence, first);
      Block block;
      block.load_from(channels, a, first, count);
      if (awaits) await_phases();
      awaits = false;
#pragma clang loop unroll(disable)
      for (index t = begin; t < end; t += Rows) {
        const int here = static_cast<int>(end - t < Rows ? end - t : Rows);
        barrier();  // whoever read what was here before has done so
#pragma clang loop unroll(disable)
        for (int job = wave(); job < 2 * here; job += waves) {
          const int at = job / 2;
          const index row = (t + at) * S::groups + group;
          if (job % 2 == 0) {
            write_head<S::run>(tile.b + at * S::run, row, b);
          } else {
            write_head<S::run>(tile.c + at * S::run, row, c);
          }
        }
#pragma clang loop unroll(disable)
        for (int i = thread(); i < here * Block::height; i += threads) {
          const index channel = first + i % Block::height;
          if (i % Block::height >= count) continue;
          const index head = S::head(channel);
          const float value = x(t + i / Block::height, channel, S::channels - channel);
          const float length = step(t + i / Block::height, head, S::heads - head);
          tile.x[i] = value;
          tile.input[i] = value * length;
          if constexpr (S::by_column) {
            tile.decay[i] = length;
          } else {
            tile.decay[i] = exp(length * load(a + head));
          }
        }
        barrier();
#pragma clang loop unroll(disable)
        for (int at = 0; at < here; ++at) {
          const int i = at * Block::height + Block::channel();
          const bool mine = Block::channel() < count;
          const float y = block.step(tile.b + at * S::run, tile.c + at * S::run,
                                     mine ? tile.decay[i] : 0.0F, mine ? tile.input[i] : 0.0F);
          if (thread() % Block::group == 0) tile.y[i] = y;
        }
        barrier();
#pragma clang loop unroll(disable)
        for (int i = thread(); i < here * Block::height; i += threads) {
          const index channel = first + i % Block::height;
          if (i % Block::height >= count) continue;
          float y = tile.y[i];
          if constexpr (S::skips) y = fma(load(d + S::head(channel)), tile.x[i], y);
          after(t + i / Block::height, channel, S::channels - channel, y);
        }
      }
      block.store_to(channels, count);
    }
    number -= parts;
    begin = end;
  }
  if (awaits) await_phases();
}

}  // namespace sinter
