// One row by matrix units for bits: weights of one bit are the rows, and the eight bits of an
// activation's integer are the eight columns. Nothing is unpacked: the words of weights are
// multiplied as they are stored, and those of the row are put into their order once. The sums of a
// group are the same integers that dots of bytes give, in the same lane's order of sums.
#pragma once

#include "gpu/activations.h"
#include "gpu/bit_matrix.h"

namespace sinter {

// Of codes whose levels are the codes themselves. Two bits, as two planes, are slower than dots of
// bytes (bench/results/2026-12-01-bits-h200.txt).
template <class W>
constexpr bool multiplies_bits = false;
template <int Cols, int Group, int Bits, class Levels, class Scales, class Offsets, class Factor>
constexpr bool
    multiplies_bits<CodedWeights<Cols, Group, BitCodes<Bits>, Levels, Scales, Offsets, Factor>> =
        BitMatrix::exists && Bits == 1 && !Levels::is_table && Group % segment_cols == 0;

// A row as planes of bits in shared memory: [Planes][block][8 bits][4 segments], a word each, whose
// bits are columns in the order of the weights': bit i of byte k is column 4 i + k.
template <int Cols, int Group, int Planes>
struct SharedBits {
  static constexpr int planes = Planes;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int code_bytes = Planes * blocks * block_cols;
  static constexpr int groups = Group == 0 ? 1 : Cols / Group;
  static constexpr int bytes = code_bytes + groups * static_cast<int>(sizeof(GroupScale));
  static_assert(bytes <= sizes::shared_row_bytes(Cols, groups, Planes));
  u8* base;

  // This lane's word of the right side.
  SINTER_MEMBER u32 word(int plane, int block) const {
    return reinterpret_cast<const u32*>(base)[(plane * blocks + block) * 32 + lane()];
  }
  SINTER_MEMBER GroupScale scale(int group) const {
    return reinterpret_cast<const GroupScale*>(base + code_bytes)[group];
  }
  template <class Prologue>
  SINTER_MEMBER void write(const Prologue& p, float* scratch, index r = 0) const {
    quantize_row<Cols, Group, Planes>(
        p, r, scratch, [] { release_next_phase(); },
        [&](int plane, int k, u32x2 eight) { put(plane, k, eight); },
        [&](int g, GroupScale scale) {
          reinterpret_cast<GroupScale*>(base + code_bytes)[g] = scale;
        });
  }

 private:
  // Four lanes have 8 columns each of a segment, so that each has two of eight words of four codes.
  // They exchange bits until each has two planes of 32 columns: for each bit of the number of a
  // word, words that differ in it change places with the bits of their bytes that do.
  SINTER_MEMBER void put(int plane, int k, u32x2 eight) const {
    const u32 differ = (eight[0] >> 1 ^ eight[1]) & low_of(1);
    u32 words[2] = {eight[0] ^ differ << 1, eight[1] ^ differ};
#pragma clang loop unroll(full)
    for (u32& word : words) {
      word = exchange<1, 2>(word);
      word = exchange<2, 4>(word);
    }
    if (k >= blocks * block_cols) return;
    const int first = lane() % 4 * 2;
    u32* const block = reinterpret_cast<u32*>(base) + (plane * blocks + k / block_cols) * 32 +
                       k % block_cols / segment_cols;
    block[first * 4] = words[0];
    block[(first + 1) * 4] = words[1];
  }
  // Bits of a byte whose number lacks `bit`.
  static constexpr u32 low_of(int bit) {
    return bit == 1 ? 0x55555555U : bit == 2 ? 0x33333333U : 0x0f0f0f0fU;
  }
  template <int Lane, int Bit>
  static SINTER_MEMBER u32 exchange(u32 word) {
    constexpr u32 low = low_of(Bit);
    const u32 other = shuffle_by_mask(word, Lane);
    return lane() & Lane ? (word & ~low) | (other >> Bit & low)
                         : (word & low) | (other & low) << Bit;
  }
};

// How a wave reads and multiplies its share of a tile, in the words of OneRow. Rows 2 g and 2 g + 1
// of the tile are rows g and g + 8 of the units; four lanes, which have a sum in parts, keep one
// row of one of two blocks each.
template <class X, class W>
struct BitsOfOneRow;
template <int Cols, int Group, int Planes, class W>
struct BitsOfOneRow<QuantizedRows<Cols, Group, Planes>, W> {
  using Row = SharedBits<Cols, Group, Planes>;
  static constexpr int together = 2;
  static constexpr int steps = (Row::blocks + together - 1) / together;

  static SINTER_MEMBER int own_row() { return lane() / 4 * 2 + lane() % 2; }
  static SINTER_MEMBER int own_block(int step) { return step * together + lane() % 4 / 2; }

  template <class>
  struct Piece {
    static constexpr bool with_scales = W::block_groups * (W::has_offsets ? 2 : 1) <= 4;
    static constexpr int registers = together * 2;
    u32 words[together][2];
    typename W::template HeldScales<W::block_groups> held;

    SINTER_MEMBER void read(const W& w, index tile, int step) {
#pragma clang loop unroll(full)
      for (int b = 0; b < together; ++b) {
        const int block = step * together + b;
        if (block >= Row::blocks) continue;
#pragma clang loop unroll(full)
        for (int r = 0; r < 2; ++r) words[b][r] = read_word(w, tile, block, lane() / 4 * 2 + r);
      }
      if constexpr (with_scales)
        if (own_block(step) < Row::blocks) w.hold(tile, own_block(step), own_row(), held);
    }

    SINTER_MEMBER float multiply(const W& w, index tile, int step, const Row& x) {
      const int block = own_block(step);
      if constexpr (!with_scales)
        if (block < Row::blocks) w.hold(tile, block, own_row(), held);
      float y = 0;
#pragma clang loop unroll(full)
      for (int g = 0; g < W::block_groups; ++g) {
        const int total = sum_group(step, g, x);
        if (block >= Row::blocks || g * W::group >= W::segments(block) * segment_cols) continue;
        if constexpr (W::has_scales) {
          const GroupScale a = x.scale(block * W::block_groups + g);
          float scale, offset;
          held.get(g, scale, offset);
          y = W::add_group(y, static_cast<float>(total), a.scale, a.bias, scale, offset);
        } else {
          y += static_cast<float>(total);
        }
      }
      return y;
    }

   private:
    // Word number lane % 4 of a row.
    static SINTER_MEMBER u32 read_word(const W& w, index tile, int block, int row) {
      const u8* const from = w.codes + tile * W::tile_bytes + index{block} * W::block_bytes;
      const int segment = lane() % 4;
      if (W::is_whole(block)) return load_stream<u32>(from + row * 16 + segment * 4);
      return segment < W::last_segments ? load_stream<u32>(from + (segment * tile_rows + row) * 4)
                                        : 0U;
    }
    // The sum of codes times integers over group g of this lane's row and block.
    SINTER_MEMBER int sum_group(int step, int g, const Row& x) const {
      constexpr int segments = W::group / segment_cols;
      const int q = lane() % 4;
      // What counts of columns 2 q and 2 q + 1 are worth: bits of integers in two's complement.
      const int even = 1 << 2 * q;
      const int odd = q == 3 ? -128 : 2 << 2 * q;
      int sums[together][2] = {};
#pragma clang loop unroll(full)
      for (int b = 0; b < together; ++b) {
        const int block = step * together + b;
        if (block >= Row::blocks) continue;
#pragma clang loop unroll(full)
        for (int p = 0; p < Planes; ++p) {
          u32 columns = x.word(p, block);
          if constexpr (W::block_groups > 1) columns = q / segments == g ? columns : 0U;
          const int worth = Planes == 2 && p == 0 ? 256 : 1;
          i32 counts[4] = {};
          BitMatrix::multiply(counts, words[b][0], words[b][1], columns);
#pragma clang loop unroll(full)
          for (int r = 0; r < 2; ++r)
            sums[b][r] += counts[2 * r] * (even * worth) + counts[2 * r + 1] * (odd * worth);
        }
      }
      int of_row[together];
#pragma clang loop unroll(full)
      for (int b = 0; b < together; ++b) of_row[b] = keep_own<1>(sums[b][0], sums[b][1]);
      return keep_own<2>(of_row[0], of_row[1]);
    }
    // Of two numbers the first is kept by lanes without bit `Lane`, the second by the others, with
    // what the lane across has of it.
    template <int Lane>
    static SINTER_MEMBER int keep_own(int first, int second) {
      const bool high = (lane() & Lane) != 0;
      return (high ? second : first) + shuffle_by_mask(high ? first : second, Lane);
    }
  };

  // Both blocks' sums, of row lane % 16 in every lane.
  static SINTER_MEMBER float gather(float y) {
    y += shuffle_by_mask(y, 2);
    const int from = lane() % tile_rows / 2 * 4 + lane() % 2;
    return __builtin_bit_cast(float, shuffle(__builtin_bit_cast(u32, y), from));
  }
  static SINTER_MEMBER float finish(const W& w, index row, float y, const Row& x) {
    return finish_row(w, row, y, x);
  }
};

}  // namespace sinter
