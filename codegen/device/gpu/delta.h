// The gated delta rule along the rows of a sequence. Rows of the state are independent of one
// another, so a block has some of those of a head, in registers, while it goes over the rows of a
// sequence; its waves only meet to share what all of them need of those. A row of the state is read
// and written once in a step, and each row of a step has the bits that it has alone, whatever the
// number of rows.
#pragma once

#include "delta_heads.h"
#include "gpu/convolution.h"
#include "gpu/prologues.h"

namespace sinter {

// What a block has of the state of a head: `Rows` rows for each of its threads' groups, whose lanes
// have four features each, and those again that stand 4 * lanes behind.
template <class H, int Rows>
struct DeltaBlock {
  static constexpr int group = sizes::delta_group;
  static constexpr int groups = threads / group;
  static constexpr int height = groups * Rows;
  static constexpr int splits = (H::value_dim + height - 1) / height;
  static constexpr int fours = (H::run / 4 + group - 1) / group;
  static constexpr bool uneven = H::run / 4 % group != 0;
  f32x4 s[Rows][fours];

  static SINTER_MEMBER int row(int i) { return thread() / group + i * groups; }
  static SINTER_MEMBER int feature(int j) { return (j * group + thread() % group) * 4; }
  static SINTER_MEMBER bool has(int j) { return !uneven || feature(j) < H::run; }

  // f(four numbers, where they lie in the state of a head), for those that there are; `first`: the
  // block's first row.
  template <class F>
  SINTER_MEMBER void for_each(int first, const F& f) {
#pragma clang loop unroll(full)
    for (int i = 0; i < Rows; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < fours; ++j)
        if (first + row(i) < H::value_dim && has(j))
          f(s[i][j], (first + row(i)) * H::run + feature(j));
  }
  SINTER_MEMBER void load_from(const float* head, int first) {
#pragma clang loop unroll(full)
    for (int i = 0; i < Rows; ++i)
#pragma clang loop unroll(full)
      for (int j = 0; j < fours; ++j) s[i][j] = f32x4(0.0F);
    for_each(first,
             [&](f32x4& four, int at) { four = *reinterpret_cast<const f32x4*>(head + at); });
  }
  SINTER_MEMBER void store_to(float* head, int first) {
    for_each(first, [&](f32x4& four, int at) { *reinterpret_cast<f32x4*>(head + at) = four; });
  }

  static SINTER_MEMBER void load_row(const float* row, f32x4 (&fours_of)[fours]) {
#pragma clang loop unroll(full)
    for (int j = 0; j < fours; ++j)
      fours_of[j] = has(j) ? *reinterpret_cast<const f32x4*>(row + feature(j)) : f32x4(0.0F);
  }
  // This lane's part of a product of rows, in four sums that do not wait for one another.
  static SINTER_MEMBER float product(const f32x4 (&a)[fours], const f32x4 (&b)[fours]) {
    f32x4 sums = a[0] * b[0];
#pragma clang loop unroll(full)
    for (int j = 1; j < fours; ++j)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) sums[i] = fma(a[j][i], b[j][i], sums[i]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  // One row: S = S decay, S = S + beta (v - S k) k^T, y = S q. Of q, k and, where it is by feature,
  // decay there are rows in shared memory, of v the block's numbers.
  template <bool ByFeature>
  SINTER_MEMBER void step(const float* q, const float* k, const float* decay, const float* v,
                          float beta, float (&y)[Rows]) {
    f32x4 key[fours];
    f32x4 query[fours];
    load_row(k, key);
    load_row(q, query);
    float known[Rows];
    if constexpr (ByFeature) {
      f32x4 factor[fours];
      load_row(decay, factor);
#pragma clang loop unroll(full)
      for (int i = 0; i < Rows; ++i)
#pragma clang loop unroll(full)
        for (int j = 0; j < fours; ++j) s[i][j] *= factor[j];
    } else {
      const float factor = *decay;
#pragma clang loop unroll(full)
      for (int i = 0; i < Rows; ++i)
#pragma clang loop unroll(full)
        for (int j = 0; j < fours; ++j) s[i][j] *= factor;
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < Rows; ++i) known[i] = sum_lanes<group>(product(s[i], key));
#pragma clang loop unroll(full)
    for (int i = 0; i < Rows; ++i) {
      const float delta = (v[row(i)] - known[i]) * beta;
#pragma clang loop unroll(full)
      for (int j = 0; j < fours; ++j)
#pragma clang loop unroll(full)
        for (int n = 0; n < 4; ++n) s[i][j][n] = fma(delta, key[j][n], s[i][j][n]);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < Rows; ++i) y[i] = sum_lanes<group>(product(s[i], query));
  }
  // Of a row whose first number of the block is at `to`.
  SINTER_MEMBER void store_results(float* to, int first, const float (&y)[Rows]) const {
    if (thread() % group != 0) return;
#pragma clang loop unroll(full)
    for (int i = 0; i < Rows; ++i)
      if (first + row(i) < H::value_dim) to[row(i)] = y[i];
  }
};

// What a block needs of some rows of a sequence, in shared memory.
template <class H, class Block, bool ByFeature>
struct DeltaTile {
  static constexpr int rows = sizes::delta_tile;
  static constexpr index bytes = sizes::delta_tile_bytes(H::run, Block::height, ByFeature);
  float* q;      // [rows][run]
  float* k;      // [rows][run]
  float* v;      // [rows][height]
  float* gates;  // [rows][decay, beta]
  float* decay;  // [rows][run], by feature

  static SINTER_MEMBER DeltaTile of(u8* base) {
    DeltaTile tile;
    tile.q = reinterpret_cast<float*>(base);
    tile.k = tile.q + rows * H::run;
    tile.v = tile.k + rows * H::run;
    tile.gates = tile.v + rows * Block::height;
    tile.decay = tile.gates + rows * 2;
    return tile;
  }
  // Row t of them, for the block's part of the state.
  template <int Rows>
  SINTER_MEMBER void step(Block& block, int t, float (&y)[Rows]) const {
    block.template step<ByFeature>(q + t * H::run, k + t * H::run,
                                   ByFeature ? decay + t * H::run : gates + t * 2,
                                   v + t * Block::height, gates[t * 2 + 1], y);
  }
};

// put(four numbers, the column of the first) for head r of a prologue, by a wave: up to `Run`
// columns, a multiple of four, with zeros where the head ends.
template <int Run, class Prologue, class Put>
SINTER_INLINE void put_head(index r, const Prologue& p, const Put& put) {
  Held row[rounds_of<Prologue::cols, Wave>];
  p.prepare(r, row, Wave{});
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds_of<Prologue::cols, Wave>; ++i)
#pragma clang loop unroll(full)
    for (int j = 0; j < held; j += 4) {
      const int k = (i * wave_size + lane()) * held + j;
      if (k < Run) put(f32x4{row[i].v[j], row[i].v[j + 1], row[i].v[j + 2], row[i].v[j + 3]}, k);
    }
}
template <int Run, class Prologue>
SINTER_INLINE void write_head(float* to, index r, const Prologue& p) {
  put_head<Run>(r, p, [&](f32x4 four, int k) { *reinterpret_cast<f32x4*>(to + k) = four; });
}
template <int Run, class Prologue>
SINTER_INLINE void write_exp_head(float* to, index r, const Prologue& p) {
  put_head<Run>(r, p, [&](f32x4 four, int k) {
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; ++i) to[k + i] = exp(four[i]);
  });
}

// The same where heads lie one after another, whatever their length.
template <int Cols, class Prologue>
SINTER_INLINE void write_floats_of_head(float* to, index r, const Prologue& p) {
  if constexpr (Cols % 4 == 0) {
    write_head<Cols>(to, r, p);
  } else {
    Held row[rounds_of<Cols, Wave>];
    p.prepare(r, row, Wave{});
    for_each_held<Cols>(Wave{}, [&](int i, int j, int k) { to[k] = row[i].v[j]; });
  }
}

// The same as products multiply it: head r is part of row r / Heads of X, whole groups of columns.
template <int Cols, int Heads, class X, class Prologue>
SINTER_INLINE void quantize_head(const X& rows, index r, const Prologue& p) {
  static_assert(X::cols == Cols * Heads && Cols % X::group == 0 && X::cols % block_cols == 0);
  Held row[rounds_of<Cols, Wave>];
  p.prepare(r, row, Wave{});
#pragma clang loop unroll(full)
  for (int i = 0; i < rounds_of<Cols, Wave>; ++i) {
    const int k = (i * wave_size + lane()) * held;
    rows.write_held(r / Heads, k < Cols ? static_cast<int>(r % Heads) * Cols + k : X::cols, row[i]);
  }
}

// Few rows: everything in one phase. A block has a part of the state of a head of a sequence, which
// it fetches before it awaits the phase before. q, k and v are rows of heads; log_decay and beta
// functions of (row, head, heads left). `y` has [rows, heads, value_dim]. `after` is called by a
// wave for each of its rows of heads; the block of a head that finishes last does this.
// `arrived` [rows, heads] is zero between phases.
template <class H, class Q, class K, class V, class Decay, class Beta, class After>
SINTER_INLINE void delta_few(const Launch* launch, const typename H::State& state, const Q& q,
                             const K& k, const V& v, const Decay& decay, const Beta& beta, float* y,
                             int* arrived, const After& after) {
  using Block = DeltaBlock<H, 1>;
  using Tile = DeltaTile<H, Block, Decay::by_feature>;
  constexpr int parts = H::heads * Block::splits;
  constexpr int jobs = Decay::by_feature ? 5 : 4;
  const Tile tile = Tile::of(shared_memory());
  int* const flag = reinterpret_cast<int*>(shared_memory() + Tile::bytes);
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  bool awaits = true;
  for (index unit = launch->worker; unit < rows * parts; unit += launch->workers) {
    const index r = unit / parts;
    if (r > 0 && table[r - 1].sequence == table[r].sequence) continue;
    const int h = static_cast<int>(unit % parts) / Block::splits;
    const int first = static_cast<int>(unit % parts) % Block::splits * Block::height;
    index end = r + 1;
    while (end < rows && table[end].sequence == table[r].sequence) ++end;
    float* const head = state.run(table[r].sequence, index{h} * H::value_dim);
    Block block;
    block.load_from(head, first);
    if (awaits) await_phases();
    awaits = false;
#pragma clang loop unroll(disable)
    for (index begin = r; begin < end; begin += Tile::rows) {
      const int count = static_cast<int>(end - begin < Tile::rows ? end - begin : Tile::rows);
      barrier();  // whoever read what was here before has done so
#pragma clang loop unroll(disable)
      for (int job = wave(); job < count * jobs; job += waves) {
        const int at = job / jobs;
        const index t = begin + at;
        switch (job % jobs) {
          case 0:
            write_head<H::run>(tile.k + at * H::run, H::key_row(t, h), k);
            break;
          case 1:
            write_head<H::run>(tile.q + at * H::run, H::key_row(t, h), q);
            break;
          case 2:
            put_head<static_cast<int>(sizes::round_up(H::value_dim, 4))>(
                t * H::heads + h, v, [&](f32x4 four, int i) {
                  if (i >= first && i < first + Block::height)
                    *reinterpret_cast<f32x4*>(tile.v + at * Block::height + i - first) = four;
                });
            break;
          case 3:
            if (lane() != 0) break;
            if constexpr (!Decay::by_feature)
              tile.gates[at * 2] = exp(decay.log(t, h, H::heads - h));
            tile.gates[at * 2 + 1] = beta(t, h, H::heads - h);
            break;
          default:
            if constexpr (Decay::by_feature)
              write_exp_head<H::run>(tile.decay + at * H::run, t * H::heads + h, decay.log);
        }
      }
      barrier();
#pragma clang loop unroll(disable)
      for (int at = 0; at < count; ++at) {
        float out[1];
        tile.step(block, at, out);
        block.store_results(y + ((begin + at) * H::heads + h) * H::value_dim + first, first, out);
      }
    }
    // The state is on its way to memory while results meet.
    bool finishes = !After::is_nothing;
    if constexpr (!After::is_nothing && Block::splits > 1) {
      int* const of_head = arrived + r * H::heads + h;
      fence_of_block();
      barrier();
      if (thread() == 0) {
        const int before = fetch_add(of_head, 1);
        if (before == Block::splits - 1) *of_head = 0;
        *flag = before;
      }
      block.store_to(head, first);
      barrier();
      finishes = *flag == Block::splits - 1;
    } else {
      block.store_to(head, first);
      if (finishes) barrier();
    }
    if (finishes)
      for (index t = r + wave(); t < end; t += waves) after(t * H::heads + h);
  }
  if (awaits) await_phases();
}

// Many rows, first phase: heads of a prologue as they are read by the next, with zeros up to `Run`
// numbers, `count` of them; a wave has one at a time.
template <int Run, class Prologue>
SINTER_INLINE void write_heads(const Launch* launch, float* to, index count, const Prologue& p) {
  for (index r = index{launch->worker} * waves + wave(); r < count;
       r += index{launch->workers} * waves)
    write_head<Run>(to + r * Run, r, p);
}
// [rows, heads][decay, beta], or where the decay is by feature, this as [rows, heads, run]. Logs:
// the logarithm of the decay instead.
template <class H, bool Logs, class Decay, class Beta>
SINTER_INLINE void write_gates(const Launch* launch, float* gates, float* decays,
                               const Decay& decay, const Beta& beta) {
  const index count = launch->step->rows * H::heads;
  for (index r = index{launch->worker} * threads + thread(); r < count;
       r += index{launch->workers} * threads) {
    const index t = r / H::heads;
    const index h = r % H::heads;
    if constexpr (!Decay::by_feature) {
      const float log = decay.log(t, h, H::heads - h);
      gates[r * 2] = Logs ? log : exp(log);
    }
    gates[r * 2 + 1] = beta(t, h, H::heads - h);
  }
  if constexpr (Decay::by_feature)
    for (index r = index{launch->worker} * waves + wave(); r < count;
         r += index{launch->workers} * waves)
      write_exp_head<H::run>(decays + r * H::run, r, decay.log);
}
// The last: f of every row of heads, by a wave.
template <class F>
SINTER_INLINE void for_each_head(const Launch* launch, index count, const F& f) {
  for (index r = index{launch->worker} * waves + wave(); r < count;
       r += index{launch->workers} * waves)
    f(r);
}

// What the second phase reads: q and k [rows, key heads, run], gates, by feature decays [rows,
// heads, run], and heads of v wherever they are.
struct DeltaInputs {
  const float* q;
  const float* k;
  const float* gates;
  const float* decays;
  const float* v;
};

// Many rows, second phase: as few rows, but what comes next is under way while rows are worked on.
// Head h of v of row t is at v + t * ValueRow + h * ValueStride.
template <class H, bool ByFeature, int ValueRow, int ValueStride>
SINTER_INLINE void delta_many_rows(const Launch* launch, const typename H::State& state,
                                   const DeltaInputs& in, float* y) {
  using Block =
      DeltaBlock<H, sizes::delta_many_height(H::heads, H::value_dim) / sizes::delta_groups>;
  using Tile = DeltaTile<H, Block, ByFeature>;
  constexpr int parts = H::heads * Block::splits;
  constexpr bool by_fours = ValueRow % 4 == 0 && ValueStride % 4 == 0;
  const index rows = launch->step->rows;
  const StepRow* const table = step_rows(launch);
  const auto tile_at = [](int buffer) { return Tile::of(shared_memory() + buffer * Tile::bytes); };
  const int workers = launch->workers;
  int number = launch->worker;  // of the next unit of a sequence
  for (index begin = 0; begin < rows;) {
    const index end = end_of_sequence(table, begin, rows);
    for (; number < parts; number += workers) {
      const int h = number / Block::splits;
      const int first = number % Block::splits * Block::height;
      const int key_head = h / (H::heads / H::key_heads);
      // Rows t.. of the sequence, as many as a tile has, to a buffer.
      const auto fetch = [&](index t, int buffer) {
        const Tile to = tile_at(buffer);
        const int count = static_cast<int>(end - t < Tile::rows ? end - t : Tile::rows);
        const auto copy_runs = [&](float* shared, const float* from, int heads, int head) {
          constexpr int fours = H::run / 4;
          for (int i = thread(); i < count * fours; i += threads)
            copy_to_shared(reinterpret_cast<u8*>(shared + i * 4),
                           reinterpret_cast<const u8*>(
                               from + ((t + i / fours) * heads + head) * H::run + i % fours * 4),
                           16);
        };
        copy_runs(to.k, in.k, H::key_heads, key_head);
        copy_runs(to.q, in.q, H::key_heads, key_head);
        if constexpr (ByFeature) copy_runs(to.decay, in.decays, H::heads, h);
        constexpr int size = by_fours ? 4 : 1;  // numbers of v that are copied at once
        constexpr int pieces = Block::height / size;
        for (int i = thread(); i < count * pieces; i += threads) {
          const int at = i % pieces * size;
          if (first + at < H::value_dim)
            copy_to_shared<size * 4>(
                reinterpret_cast<u8*>(to.v + i * size),
                reinterpret_cast<const u8*>(in.v + (t + i / pieces) * ValueRow + h * ValueStride +
                                            first + at),
                size * 4);
        }
        if (thread() < count)
          copy_to_shared<8>(
              reinterpret_cast<u8*>(to.gates + thread() * 2),
              reinterpret_cast<const u8*>(in.gates + ((t + thread()) * H::heads + h) * 2), 8);
        end_copies();
      };
      float* const head = state.run(table[begin].sequence, index{h} * H::value_dim);
      fetch(begin, 0);
      Block block;
      block.load_from(head, first);
      int buffer = 0;
#pragma clang loop unroll(disable)
      for (index t = begin; t < end; t += Tile::rows, buffer ^= 1) {
        if (t + Tile::rows < end) {
          fetch(t + Tile::rows, buffer ^ 1);
          await_copies_but<1>();
        } else {
          await_copies();
        }
        barrier();
        const Tile tile = tile_at(buffer);
        const int count = static_cast<int>(end - t < Tile::rows ? end - t : Tile::rows);
        const auto work = [&](int at) __attribute__((always_inline)) {
          float out[Block::height / Block::groups];
          tile.step(block, at, out);
          block.store_results(y + ((t + at) * H::heads + h) * H::value_dim + first, first, out);
        };
        // The result of a row is summed while the next is begun.
        int at = 0;
#pragma clang loop unroll(disable)
        for (; at + 2 <= count; at += 2) {
          work(at);
          work(at + 1);
        }
        if (at < count) work(at);
        barrier();
      }
      block.store_to(head, first);
    }
    number -= parts;
    begin = end;
  }
}

}  // namespace sinter
