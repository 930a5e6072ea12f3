// y = x w^T for one row x. A wave takes a tile of 16 output rows, a lane one of its rows in every
// second (wave32) or fourth (wave64) block of columns, so that no sum of blocks crosses lanes until
// the end. Few tiles share their columns among the waves of a block; many take a wave each.
#pragma once

#include "gpu/handing.h"
#include "gpu/matvec_bits.h"

namespace sinter {

// Waves that share a tile: enough to fill a large GPU, no more than have columns. A tile of bits
// takes so little that more of them keep blocks alike.
template <class W>
constexpr int wanted_waves = multiplies_bits<W> ? 16384 : 8192;
template <class W>
constexpr int share_tile(index tiles, int steps) {
  int sharing = 1;
  while (sharing < waves && sharing < steps && tiles * sharing * 2 <= wanted_waves<W>) sharing *= 2;
  return sharing;
}

// Block `block` of row `row` of a tile times x. Where only the tensor has a scale: integers, which
// finish() scales.
template <class W, class X>
SINTER_INLINE float multiply_block(const RowCodes<W>& codes, int block,
                                   const typename W::template HeldScales<W::block_groups>& held,
                                   const X& x) {
  constexpr int group_steps = W::group / 4;
  float y = 0;
#pragma clang loop unroll(full)
  for (int g = 0; g < W::block_groups; ++g) {
    int sums[X::planes] = {};
#pragma clang loop unroll(full)
    for (int first = g * group_steps; first < (g + 1) * group_steps; first += 4) {
      u32x4 a[X::planes];
#pragma clang loop unroll(full)
      for (int p = 0; p < X::planes; ++p) a[p] = x.codes(p, block, first * 4);
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; ++i) {
        const u32 four = W::levels_type::levels(codes.four((first + i) / 8, (first + i) % 8));
#pragma clang loop unroll(full)
        for (int p = 0; p < X::planes; ++p) sums[p] = dot4(four, a[p][i], sums[p]);
      }
    }
    if (g * W::group >= W::segments(block) * segment_cols) continue;
    int total = sums[0];
    if constexpr (X::planes == 2) total = total * 256 + sums[1];
    if constexpr (!W::has_scales) {
      y += static_cast<float>(total);
      continue;
    }
    const GroupScale a = x.scale(block * W::block_groups + g);
    float scale, offset;
    held.get(g, scale, offset);
    y = W::add_group(y, static_cast<float>(total), a.scale, a.bias, scale, offset);
  }
  return y;
}

// Of what the lanes of a wave have of a tile's rows: the sums of all blocks, of row lane % 16 in
// every lane.
SINTER_INLINE float add_up_blocks(float y) {
#pragma clang loop unroll(full)
  for (int mask = tile_rows; mask < wave_size; mask *= 2) y += shuffle_xor(y, mask);
  return y;
}

template <class X>
struct OneRow;

// Coded weights: how a wave reads and multiplies its share of a tile.
template <int Cols, int Group, int Planes>
struct OneRow<QuantizedRows<Cols, Group, Planes>> {
  using Row = SharedRow<Cols, Group, Planes>;
  static constexpr int together = wave_size / tile_rows;  // blocks that a wave reads at a time
  static constexpr int steps = (Row::blocks + together - 1) / together;

  template <class W>
  struct Piece {
    // Scales come with the codes where they take few registers.
    static constexpr bool with_scales = W::block_groups * (W::has_offsets ? 2 : 1) <= 4;
    RowCodes<W> codes;
    typename W::template HeldScales<W::block_groups> held;
    __device__ __attribute__((always_inline)) void read(const W& w, index tile, int step) {
      const int block = step * together + lane() / tile_rows;
      if (block >= Row::blocks) return;
      codes.read(w, tile, block, lane() % tile_rows);
      if constexpr (with_scales) w.hold(tile, block, lane() % tile_rows, held);
    }
    template <class R>
    __device__ __attribute__((always_inline)) float multiply(const W& w, index tile, int step,
                                                             const R& x) {
      const int block = step * together + lane() / tile_rows;
      if (block >= Row::blocks) return 0.0F;
      if constexpr (!with_scales) w.hold(tile, block, lane() % tile_rows, held);
      return multiply_block<W>(codes, block, held, x);
    }
    static constexpr int registers = RowCodes<W>::registers;
  };
  static SINTER_MEMBER float gather(float y) { return add_up_blocks(y); }
  template <class W, class R>
  static SINTER_MEMBER float finish(const W& w, index row, float y, const R& x) {
    return finish_row(w, row, y, x);
  }
};

// Dense weights: chunks of 16 bytes of a row.
template <int Cols>
struct SharedFloats {
  // Room for whole chunks of every element type; weights are zero beyond the columns.
  static constexpr int bytes = sizes::shared_floats_bytes(Cols);
  u8* base;
  __device__ __attribute__((always_inline)) f32x4 four(int k) const {
    return *reinterpret_cast<const f32x4*>(base + k * 4);
  }
  template <class Prologue>
  __device__ __attribute__((always_inline)) void write(const Prologue& p, float* scratch,
                                                       index r = 0) const {
    const auto team = team_of<Prologue>(scratch);
    Held row[rounds_of<Cols, TeamOf<Prologue>>];
    p.prepare(r, row, team);
    release_next_phase();
#pragma clang loop unroll(full)
    for (int i = 0; i < rounds_of<Cols, TeamOf<Prologue>>; ++i) {
      const int k = first_column(i, team);
      if (k >= bytes / 4) continue;
#pragma clang loop unroll(full)
      for (int j = 0; j < held; j += 4)
        *reinterpret_cast<f32x4*>(base + (k + j) * 4) =
            f32x4{row[i].v[j], row[i].v[j + 1], row[i].v[j + 2], row[i].v[j + 3]};
    }
  }
};

template <int Cols>
struct OneRow<FloatRows<Cols>> {
  using Row = SharedFloats<Cols>;
  static constexpr int together = wave_size / tile_rows;
  // Elements, whatever their size.
  static constexpr int unit = sizes::piece_of_floats;
  static constexpr int units = (Cols + unit - 1) / unit;
  static constexpr int steps = (units + together - 1) / together;

  template <class W>
  struct Piece {
    static constexpr int loads = unit / W::chunk;
    u32x4 bits[loads];
    __device__ __attribute__((always_inline)) void read(const W& w, index tile, int step) {
      const int at = step * together + lane() / tile_rows;
#pragma clang loop unroll(full)
      for (int i = 0; i < loads; ++i) {
        const int chunk = at * loads + i;
        bits[i] = chunk < W::chunks
                      ? load_stream<u32x4>(w.values + ((tile * W::chunks + chunk) * tile_rows +
                                                       lane() % tile_rows) *
                                                          W::chunk)
                      : u32x4{0, 0, 0, 0};
      }
    }
    template <class R>
    __device__ __attribute__((always_inline)) float multiply(const W& w, index tile, int step,
                                                             const R& x) const {
      const int at = step * together + lane() / tile_rows;
      if (at >= units) return 0.0F;
      float y = 0;
#pragma clang loop unroll(full)
      for (int i = 0; i < loads; ++i) {
        if (at * loads + i >= W::chunks) continue;
        u32x4 rest = bits[i];
        const float scale = w.scale(tile, lane() % tile_rows, at * loads + i);
#pragma clang loop unroll(full)
        for (int j = 0; j < W::chunk; j += 4) {
          const f32x4 four = take_four<W>(rest, scale);
          const f32x4 a = x.four(at * unit + i * W::chunk + j);
#pragma clang loop unroll(full)
          for (int k = 0; k < 4; ++k) y = fma(four[k], a[k], y);
        }
      }
      return y;
    }
    static constexpr int registers = 4 * loads;
  };
  static SINTER_MEMBER float gather(float y) { return add_up_blocks(y); }
  template <class W, class R>
  static SINTER_MEMBER float finish(const W& w, index row, float y, const R&) {
    return y * w.factor.of_row(row);
  }
};

// How a weight is multiplied.
template <class X, class W, bool Bits = multiplies_bits<W>>
struct OneRowOf : OneRow<X> {};
template <class X, class W>
struct OneRowOf<X, W, true> : BitsOfOneRow<X, W> {};

template <class X>
constexpr int one_row_shared_bytes = sizes::one_row_shared_bytes(OneRow<X>::Row::bytes, waves);

// Splits of the columns of a tile.
template <class W>
constexpr int splits_of(index tiles) {
  return static_cast<int>(sizes::column_splits(tiles, sizes::pieces_of(W::cols, W::piece_cols),
                                               index{tile_rows} * W::cols * W::bits / 8));
}

// How the work on tiles is dealt out. A unit is a tile, or a split of the columns of one, by as
// many waves as share it: split after split of all tiles.
template <class Form, int Rows, class W>
struct TileShare {
  static constexpr index tiles = (Rows + tile_rows - 1) / tile_rows;
  static constexpr int splits = splits_of<W>(tiles);
  static constexpr int split_steps = (Form::steps + splits - 1) / splits;
  static constexpr index units = tiles * splits;
  static constexpr int sharing = share_tile<W>(tiles, split_steps);
  static constexpr int at_once = waves / sharing;  // units of a block
  static constexpr int steps = (split_steps + sharing - 1) / sharing;
  static_assert(splits == 1 || at_once == 1);

  static SINTER_MEMBER index tile(index unit) { return splits == 1 ? unit : unit % tiles; }
  static SINTER_MEMBER int split(index unit) {
    return splits == 1 ? 0 : static_cast<int>(unit / tiles);
  }
  // Step number i of this wave; behind the last where it has none.
  static SINTER_MEMBER int step(index unit, int i) {
    const int at = i * sharing + wave() % sharing;
    if constexpr (splits == 1) {
      return at;
    } else {
      return split_steps % sharing == 0 || at < split_steps ? split(unit) * split_steps + at
                                                            : Form::steps;
    }
  }
};

// What splits of columns hand over: [rows][Rows][Parts][splits - 1].
template <class Share, int Rows>
struct SplitSums {
  Handed* words;

  // Adds up what the splits of a tile have of the sums of an output column of a row, in their
  // order. False for all but the last split, which waits for the others.
  template <int Parts>
  SINTER_MEMBER bool add_up(index unit, index row, index col, float (&y)[Parts]) const {
    constexpr int others = Share::splits - 1;
    if constexpr (others > 0) {
      Handed* const here = words + (row * Rows + col) * Parts * others;
      const int split = Share::split(unit);
      if (split < others) {
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part) here[part * others + split].put(y[part]);
        return false;
      }
      u32 looks[Parts * others];
      while (true) {
#pragma clang loop unroll(full)
        for (int i = 0; i < Parts * others; ++i) looks[i] = here[i].look();
        bool all = true;
#pragma clang loop unroll(full)
        for (int i = 0; i < Parts * others; ++i) all &= looks[i] != 0;
        if (all) break;
        look_again();
      }
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part) {
        float sum = 0;
#pragma clang loop unroll(full)
        for (int i = 0; i < others; ++i) {
          sum += Handed::number(looks[part * others + i]);
          here[part * others + i].clear();
        }
        y[part] += sum;
      }
    }
    return true;
  }
};

// `Parts` matrices of `Rows` rows each, one after another in w, each starting a tile, go to the
// epilogue together: epilogue(row, output column, outputs left in the part, y of part 0, y of part
// 1).
template <class X, int Parts, int Rows, class W, class Prologue, class Epilogue>
SINTER_INLINE void matmul_one_row(const Launch* launch, const W& w, const Prologue& prologue,
                                  Handed* handed, const Epilogue& epilogue) {
  using Form = OneRowOf<X, W>;
  using Share = TileShare<Form, Rows, W>;
  using Piece = typename Form::template Piece<W>;
  constexpr index tiles = Share::tiles;
  constexpr int sharing = Share::sharing, steps = Share::steps, at_once = Share::at_once;
  // Loads that are under way before the first is used.
  constexpr int most_ahead = Piece::registers * Parts > 32 ? 1 : 32 / (Piece::registers * Parts);
  constexpr int ahead = most_ahead < steps ? most_ahead : steps;

  if (index{launch->worker} * at_once >= Share::units) return;
  u8* const behind = shared_memory() + sizes::behind_row(Form::Row::bytes);
  float* const partials = reinterpret_cast<float*>(behind);
  float* const scratch = reinterpret_cast<float*>(behind + 2 * waves * 2 * tile_rows * 4);
  const typename Form::Row x{shared_memory()};
  const SplitSums<Share, Rows> sums{handed};
  const int slot = wave() / sharing;
  const int part_of_tile = wave() % sharing;

  Piece pieces[ahead][Parts];
  const auto read = [&](index unit, int step, Piece(&into)[Parts]) __attribute__((always_inline)) {
    if (unit >= Share::units) return;
#pragma clang loop unroll(full)
    for (int part = 0; part < Parts; ++part)
      into[part].read(w, part * tiles + Share::tile(unit), Share::step(unit, step));
  };
  // Weights do not depend on what came before: the first are fetched while x is prepared.
  index unit = index{launch->worker} * at_once + slot;
#pragma clang loop unroll(full)
  for (int i = 0; i < ahead; ++i) read(unit, i, pieces[i]);
  fetch_vectors(launch, prologue);
  await_previous_phase();
  x.write(prologue, scratch);
  barrier();

  int parity = 0;
  for (index base = index{launch->worker} * at_once; base < Share::units;
       base += index{launch->workers} * at_once) {
    const index next = unit + index{launch->workers} * at_once;
    const index tile = Share::tile(unit);
    float y[Parts] = {};
    if (unit < Share::units) {
#pragma clang loop unroll(disable)
      for (int step = 0; step < steps; step += ahead)
#pragma clang loop unroll(full)
        for (int i = 0; i < ahead; ++i) {
          if (steps % ahead != 0 && step + i >= steps) break;
#pragma clang loop unroll(full)
          for (int part = 0; part < Parts; ++part)
            y[part] +=
                pieces[i][part].multiply(w, part * tiles + tile, Share::step(unit, step + i), x);
          settle(y);
          // The place is free for what comes `ahead` steps later.
          if (step + i + ahead < steps) read(unit, step + i + ahead, pieces[i]);
        }
    }
    if (base + index{launch->workers} * at_once < Share::units)
#pragma clang loop unroll(full)
      for (int i = 0; i < ahead; ++i) read(next, i, pieces[i]);
#pragma clang loop unroll(full)
    for (int part = 0; part < Parts; ++part) y[part] = Form::gather(y[part]);
    if constexpr (sharing > 1) {
      float* const here = partials + parity * waves * 2 * tile_rows;
      if (lane() < tile_rows)
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part)
          here[(wave() * 2 + part) * tile_rows + lane()] = y[part];
      barrier();
      parity ^= 1;
      if (part_of_tile == 0 && lane() < tile_rows)
#pragma clang loop unroll(full)
        for (int part = 0; part < Parts; ++part) {
          float sum = 0;
#pragma clang loop unroll(full)
          for (int i = 0; i < sharing; ++i)
            sum += here[((slot * sharing + i) * 2 + part) * tile_rows + lane()];
          y[part] = sum;
        }
    }
    const index col = tile * tile_rows + lane();
    if (part_of_tile == 0 && lane() < tile_rows && col < Rows && sums.add_up(unit, 0, col, y)) {
#pragma clang loop unroll(full)
      for (int part = 0; part < Parts; ++part)
        y[part] = Form::finish(w, part * index{Rows} + col, y[part], x);
      if constexpr (Parts == 1) epilogue(0, col, Rows - col, y[0]);
      if constexpr (Parts == 2) epilogue(0, col, Rows - col, y[0], y[1]);
    }
    unit = next;
  }
}

}  // namespace sinter
