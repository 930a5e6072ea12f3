// Mixtures of experts: which columns of a row are the largest, and products with the matrices that
// they name.
#pragma once

#include "gpu/few_rows.h"
#include "score_groups.h"

namespace sinter {

// Numbers as integers of the same order: a NaN counts as the smallest number, and none is 0.
SINTER_INLINE u32 rank_of(float x) {
  const float number = x == x ? x : -__builtin_inff();
  const u32 bits = __builtin_bit_cast(u32, number == 0 ? 0.0F : number);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}

// out [rows, K]: columns of the K largest of x [rows, Cols], the largest first; of equal ones the
// lower column first. Of several groups of columns only those of the Kept count that their Best
// largest say. A wave takes a row of its block's, which its lanes hold, and finds one after
// another: a block would wait for its waves as often.
template <int Cols, int K, int Groups = 1, int Kept = 1, int Best = 1>
SINTER_INLINE void top_k(const Launch* launch, const float* x, index rows, i32* out) {
  float* const scores = reinterpret_cast<float*>(shared_memory()) + wave() * Groups;
  constexpr int held_columns = (Cols + wave_size - 1) / wave_size;
  constexpr int size = Cols / Groups;
  for (index r = launch->worker + wave() * launch->workers; r < rows;
       r += launch->workers * index{waves}) {
    if constexpr (Groups > 1) {
      for (int g = lane(); g < Groups; g += wave_size)
        scores[g] = group_score<size, Best>(x + r * Cols + g * size);
      wave_barrier();
    }
    u32 ranks[held_columns];
#pragma clang loop unroll(full)
    for (int j = 0; j < held_columns; ++j) {
      const i32 c = lane() + j * wave_size;
      ranks[j] = c < Cols ? rank_of(x[r * Cols + c]) : 0;
      if constexpr (Groups > 1)
        if (c >= Cols || !is_kept<Groups, Kept>(scores, c / size)) ranks[j] = 0;
    }
    for (int i = 0; i < K; ++i) {
      u32 best = 0;
#pragma clang loop unroll(full)
      for (int j = 0; j < held_columns; ++j) best = ranks[j] > best ? ranks[j] : best;
      best = most_of_wave(best);
      // Columns from the right, so that the lowest is the largest.
      u32 from_right = 0;
#pragma clang loop unroll(full)
      for (int j = held_columns - 1; j >= 0; --j)
        if (ranks[j] == best) from_right = static_cast<u32>(Cols - lane() - j * wave_size);
      const i32 column = Cols - static_cast<i32>(most_of_wave(from_right));
#pragma clang loop unroll(full)
      for (int j = 0; j < held_columns; ++j)
        if (column == lane() + j * wave_size) ranks[j] = 0;
      if (lane() == 0) out[r * K + i] = column;
    }
    if constexpr (Groups > 1) wave_barrier();
  }
  barrier();
}

// Rows of the input as a phase before left them, and as this block prepared them.
template <class X>
struct GlobalRows {
  const X& x;
  __device__ GlobalRow<X> row(index r) const { return {x, r}; }
};
template <class X>
struct SharedRows {
  using Row = typename OneRow<X>::Row;
  static constexpr int stride = sizes::round_up(Row::bytes, 16);
  u8* base;
  __device__ Row row(index r) const { return {base + r * stride}; }
};
template <class X>
SINTER_INLINE GlobalRows<X> rows_of(const X& x) {
  return {x};
}
template <class X>
SINTER_INLINE SharedRows<X> rows_of(const SharedRows<X>& x) {
  return x;
}
template <class X, int Rows>
constexpr int shared_rows_bytes = sizes::shared_rows_bytes(Rows, SharedRows<X>::Row::bytes);

// Rows of x, prepared in shared memory.
template <class X, int Rows, class Prologue>
SINTER_INLINE SharedRows<X> prepare_rows(const Launch*, const Prologue& prologue) {
  const SharedRows<X> x{shared_memory()};
  float* const scratch = reinterpret_cast<float*>(x.base + Rows * SharedRows<X>::stride);
  for (index r = 0; r < Rows; ++r) {
    x.row(r).write(prologue, scratch, r);
    barrier();
  }
  return x;
}

// The row that a lane has of tile `tile` of the matrix of an expert times x, by a wave; w holds
// matrices of Rows rows, each starting a tile.
template <class X, int Rows, class W, class Row>
SINTER_INLINE float expert_tile(const W& w, index expert, index tile, const Row& x) {
  using Form = OneRow<X>;
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  using Piece = typename Form::template Piece<W>;
  // Loads that are under way: a row alone has few waves, each of which may have many registers.
  constexpr bool alone = __is_same(Row, typename Form::Row);
  constexpr int most_ahead = !alone || Piece::registers > 64 ? 1 : 64 / Piece::registers;
  constexpr int ahead = most_ahead < Form::steps ? most_ahead : Form::steps;
  Piece pieces[ahead];
#pragma clang loop unroll(full)
  for (int i = 0; i < ahead; ++i) pieces[i].read(w, expert * tiles + tile, i);
  float y[1] = {};
#pragma clang loop unroll(disable)
  for (int step = 0; step < Form::steps; step += ahead)
#pragma clang loop unroll(full)
    for (int i = 0; i < ahead; ++i) {
      if (Form::steps % ahead != 0 && step + i >= Form::steps) break;
      y[0] += pieces[i].multiply(w, expert * tiles + tile, step + i, x);
      settle(y);
      if (step + i + ahead < Form::steps)
        pieces[i].read(w, expert * tiles + tile, step + i + ahead);
    }
  const float sum = Form::gather(y[0]);
  const index col = tile * tile_rows + lane() % tile_rows;
  return col < Rows ? Form::finish(w, expert * Rows + col, sum, x) : 0.0F;
}

// What waves of a block leave for one another: a number for each row of a tile.
SINTER_INLINE float* tile_of(float* shared, int number) { return shared + number * tile_rows; }

// The numbers that `Count` waves from `first` on have left, in order, as arguments of f.
template <int Count, class F, class... Y>
SINTER_INLINE void with_tiles(float* shared, int first, const F& f, Y... y) {
  if constexpr (sizeof...(Y) == Count) {
    f(y...);
  } else {
    with_tiles<Count>(shared, first, f, y...,
                      tile_of(shared, first + static_cast<int>(sizeof...(Y)))[lane() % tile_rows]);
  }
}

// Rows of x times the matrices that experts [rows, Chosen] names. x has a row for each choice, or
// for each row of the step: epilogue(row and choice, output column, outputs left, y of each w). A
// wave takes a tile of one of the matrices; those that belong together meet in `shared`, which has
// room for a tile of each wave.
template <class X, int Chosen, bool Each, int Rows, class Given, class Epilogue, class W,
          class... Others>
SINTER_INLINE void gather_multiply(const Launch* launch, const i32* experts, float* shared,
                                   const Given& given, index tokens, const Epilogue& epilogue,
                                   const W& w, const Others&... others) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  constexpr int matrices = 1 + sizeof...(Others);
  constexpr int together = waves / matrices;  // tiles of a block
  static_assert(together > 0);
  const auto x = rows_of(given);
  const int which = wave() % matrices;
  const int slot = wave() / matrices;
  const W mine = [&] {
    W chosen = w;
    int number = 0;
    ((++number == which ? static_cast<void>(chosen = others) : static_cast<void>(0)), ...);
    return chosen;
  }();
  const index units = tokens * Chosen * tiles;
  for (index first = launch->worker * index{together}; first < units;
       first += launch->workers * index{together}) {
    const index unit = first + slot;
    const bool real = slot < together && unit < units;
    const index pair = unit / tiles;
    const index tile = unit % tiles;
    const index col = tile * tile_rows + lane();
    if (real) {
      const float y =
          expert_tile<X, Rows>(mine, experts[pair], tile, x.row(Each ? pair : pair / Chosen));
      if (lane() < tile_rows) tile_of(shared, wave())[lane()] = y;
    }
    barrier();
    if (real && which == 0 && lane() < tile_rows && col < Rows)
      with_tiles<matrices>(shared, slot * matrices, [&](auto... y) __attribute__((always_inline)) {
        epilogue(pair, col, Rows - col, y...);
      });
    barrier();
  }
}

// The same, then summed over a token's choices, each times its weight [tokens, Chosen]:
// epilogue(token, output column, outputs left, sum) of what term(token and choice, ...) gives. A
// wave takes a tile of one choice; `shared` has room for a tile of each wave, or of each choice
// where those are more.
template <class X, int Chosen, bool Each, int Rows, class Given, class Term, class Epilogue,
          class... W>
SINTER_INLINE void gather_sum(const Launch* launch, const i32* experts, const float* weights,
                              float* shared, const Given& given, index tokens, const Term& term,
                              const Epilogue& epilogue, const W&... w) {
  constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  constexpr int side_by_side = Chosen < waves ? Chosen : waves;
  constexpr int together = waves / side_by_side;  // tiles of a block
  const auto x = rows_of(given);
  const int slot = wave() / side_by_side;
  const index units = tokens * tiles;
  for (index first = launch->worker * index{together}; first < units;
       first += launch->workers * index{together}) {
    const index unit = first + slot;
    const bool real = slot < together && unit < units;
    const index token = unit / tiles;
    const index tile = unit % tiles;
    const index col = tile * tile_rows + lane();
    const bool mine = real && lane() < tile_rows && col < Rows;
    for (int c = wave() % side_by_side; real && c < Chosen; c += side_by_side) {
      const index pair = token * Chosen + c;
      const auto leave = [&](auto... y) __attribute__((always_inline)) {
        if (mine) tile_of(shared, slot * Chosen + c)[lane()] = term(pair, col, Rows - col, y...);
      };
      leave(expert_tile<X, Rows>(w, experts[pair], tile, x.row(Each ? pair : token))...);
    }
    barrier();
    if (mine && wave() % side_by_side == 0) {
      float sum = 0;
      for (int c = 0; c < Chosen; ++c)
        sum = fma(weights[token * Chosen + c], tile_of(shared, slot * Chosen + c)[lane()], sum);
      epilogue(token, col, Rows - col, sum);
    }
    barrier();
  }
}

// Whether all other blocks of the phase have come here; they do not wait. What they wrote is seen.
// `counter` is zero between phases.
SINTER_INLINE bool arrives_last(const Launch* launch, i32* counter) {
  i32* const flag = reinterpret_cast<i32*>(shared_memory());
  fence_of_block();
  barrier();
  if (thread() == 0) {
    const bool last = fetch_add(counter, 1) == launch->workers - 1;
    if (last) *counter = 0;
    *flag = last ? 1 : 0;
  }
  barrier();
  const bool last = *flag != 0;
  barrier();  // the flag's place is used again
  fence_of_block();
  return last;
}
// The phase's work as that of one block.
SINTER_INLINE Launch alone(const Launch* launch) {
  Launch last = *launch;
  last.worker = 0;
  last.workers = 1;
  return last;
}

}  // namespace sinter
