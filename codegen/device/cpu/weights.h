// Packed weights as the host kernels read them. codegen/layouts/cpu16.cpp writes this layout;
// change both together.
//
// Rows are tiled by 16, one lane each. A coded tile is, unit after unit of columns (a group, two
// where groups have 16 columns), a block of `unit * 2 * bits` bytes. The width is split into fields
// of 4, 2 and 1 bits (3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1; 8 is one field), widest first, lowest
// bits first. In a field of w bits every 64-byte chunk holds 8/w steps of four columns: byte 4*lane
// + k carries the codes of column 4*step + k, step s of the chunk in bits [s*w, (s+1)*w). So one
// shift and one mask give the four codes of all 16 rows, with no crossing of lanes. Scales and
// biases are apart: [tile][group][16]. A row may have been made longer by columns whose codes are 0
// (kernel_type in codegen/layouts/layout.h); activations are 0 there.
#pragma once

#include "cpu/dot.h"
#include "cpu/vector.h"

namespace sinter {

constexpr int tile_rows = lanes;

constexpr bool has_field(int bits, int width) {
  return bits == 8 ? width == 8 : width < 8 && (bits & width) != 0;
}

// --- codes of a unit of columns: unpack(unit, columns of it, step) gives those of columns
// 4*step..4*step+3 for the 16 rows, four bytes to a lane; unpack_lane(...) for one row.

template <int Bits>
struct BitCodes {
  static constexpr int bits = Bits;
  static constexpr int unit(int group) { return group < 32 ? 32 : group; }
  static constexpr index bytes(int cols) { return index{cols} * 2 * Bits; }

  SINTER_INLINE u32x16 unpack(const u8* unit, int unit_cols, int step) {
    u32x16 codes = u32x16(0);
    index base = 0;
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(Bits, width)) continue;
      const int per_chunk = 8 / width;
      const u32x16 chunk = load_unaligned<u32x16>(unit + base + (step / per_chunk) * 64);
      const int shift = (step % per_chunk) * width - low;
      const u32 mask = 0x01010101U * (((1U << width) - 1U) << low);
      codes |= (shift >= 0 ? chunk >> static_cast<u32>(shift) : chunk << static_cast<u32>(-shift)) &
               mask;
      base += index{unit_cols} * 2 * width;
      low += width;
    }
    return codes;
  }
  SINTER_INLINE u32 unpack_lane(const u8* unit, int unit_cols, int step, index lane) {
    u32 codes = 0;
    index base = 0;
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(Bits, width)) continue;
      const int per_chunk = 8 / width;
      const u32 word = load_unaligned<u32>(unit + base + (step / per_chunk) * 64 + lane * 4);
      codes |= ((word >> ((step % per_chunk) * width)) & (0x01010101U * ((1U << width) - 1U)))
               << low;
      base += index{unit_cols} * 2 * width;
      low += width;
    }
    return codes;
  }
};

// Codes 0..2, five to a byte as the fraction 0.ttttt of 256 in base 3: 13 chunks of 64 bytes hold
// the 64 steps of 256 columns. Half h has chunks 6 h .. 6 h + 5; its last two steps are digits 2 h
// and 2 h + 1 of chunk 12.
struct TritCodes {
  static constexpr int bits = 2;
  static constexpr int unit(int) { return 256; }
  static constexpr index bytes(int cols) { return index{cols} / 256 * 13 * 64; }

  static constexpr int chunk(int step) {
    return step % 32 < 30 ? step / 32 * 6 + step % 32 / 5 : 12;
  }
  static constexpr int digit(int step) {
    return step % 32 < 30 ? step % 32 % 5 : step / 32 * 2 + step % 32 - 30;
  }
  // Every second byte at a time: the digit is in bits 8 and 9 after the products.
  template <class V>
  SINTER_INLINE V digits(V bytes, int number) {
    u32 power = 1;
    for (int i = 0; i < number; ++i) power *= 3;
    const V mask = V(0x00ff00ffU);
    const V even = (((bytes & mask) * power & mask) * 3U >> 8) & V(0x00030003U);
    const V odd = (((bytes >> 8 & mask) * power & mask) * 3U) & V(0x03000300U);
    return even | odd;
  }
  SINTER_INLINE u32x16 unpack(const u8* unit, int, int step) {
    return digits(load_unaligned<u32x16>(unit + chunk(step) * 64), digit(step));
  }
  SINTER_INLINE u32 unpack_lane(const u8* unit, int, int step, index lane) {
    return digits(load_unaligned<u32>(unit + chunk(step) * 64 + lane * 4), digit(step));
  }
};

// --- what codes stand for: w = scale * factor * (level(code) - zero), levels being unsigned bytes,
// or, with an offset of the group, w = scale * code + offset.

template <int Bits>
struct PlainLevels {
  static constexpr int bits = Bits;  // of a level
  SINTER_INLINE u32x16 levels(u32x16 codes) { return codes; }
  SINTER_INLINE u32 levels_lane(u32 codes) { return codes; }
};
template <int Bits, int TwiceZero>
struct Linear : PlainLevels<Bits> {
  static constexpr float zero = 0.5F * TwiceZero, factor = 1;
};
// One bit: -scale or scale.
struct Sign : PlainLevels<1> {
  static constexpr float zero = 0.5F, factor = 2;
};
template <int Bits>
struct Affine : PlainLevels<Bits> {};
template <int Bits>
struct Shifted : PlainLevels<Bits> {};

// Levels are table[code] of 16 bytes.
template <class Table>
struct TableLevels {
  SINTER_INLINE u32x16 levels(u32x16 codes) { return lookup(Table::levels, codes); }
  SINTER_INLINE u32 levels_lane(u32 codes) {
    u32 out = 0;
    for (int k = 0; k < 4; ++k) out |= u32{Table::levels[codes >> (8 * k) & 15U]} << (8 * k);
    return out;
  }
};
// E2M1, twice its value and 12 more.
struct Fp4Table {
  static constexpr u8 levels[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
};
struct Fp4 : TableLevels<Fp4Table> {
  static constexpr int bits = 5;
  static constexpr float zero = 12, factor = 0.5F;
};
// The levels of GGUF's IQ4 types and 127 more.
struct Iq4Table {
  static constexpr u8 levels[16] = {0,   23,  44,  62,  78,  92,  105, 117,
                                    128, 140, 152, 165, 180, 196, 216, 240};
};
struct Iq4 : TableLevels<Iq4Table> {
  static constexpr int bits = 8;
  static constexpr float zero = 127, factor = 1;
};

template <class Levels>
constexpr bool has_offset = false;
template <int Bits>
constexpr bool has_offset<Affine<Bits>> = true;
template <int Bits>
constexpr bool has_offset<Shifted<Bits>> = true;

template <class Levels>
constexpr bool is_shifted = false;
template <int Bits>
constexpr bool is_shifted<Shifted<Bits>> = true;

// --- scales: at(tile, group of `Group` columns of `Cols`) gives those of the 16 rows.

// One per `Own` columns, a multiple of Group.
template <int Own, class T>
struct GroupScales {
  static constexpr bool is_minimum = false;
  template <int Cols>
  static constexpr index count = (Cols + Own - 1) / Own;
  const T* scales;
  template <int Cols, int Group>
  inline f32x16 at(index tile, index group) const {
    return load(scales + (tile * count<Cols> + group / (Own / Group)) * lanes);
  }
  template <int Cols, int Group>
  inline float at_lane(index tile, index group, index lane) const {
    return load_scalar(scales + (tile * count<Cols> + group / (Own / Group)) * lanes + lane);
  }
};

// Two levels: an integer of Bits bits, less Zero, times the number of its block of columns. The
// integers of a block are split into fields like codes; in a field of w bits a vector of 16 bytes
// has 8 / w groups.
template <int Block, class T, int Bits, int Zero>
struct BlockScales {
  static constexpr bool is_minimum = true;  // taken off, where it stands for biases
  const T* scales;
  const u8* integers;
  template <int Cols, int Group>
  inline f32x16 at(index tile, index group) const {
    constexpr int per_block = Block / Group;
    const index block = tile * (Cols / Block) + group / per_block;
    const index i = group % per_block;
    const u8* field = integers + block * per_block * Bits * 2;
    u32x16 all = u32x16(0);
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(Bits, width)) continue;
      const u32x16 bytes = widen(load_unaligned<u8x16>(field + i * width / 8 * lanes));
      all |= (bytes >> static_cast<u32>(i * width % 8) & ((1U << width) - 1U))
             << static_cast<u32>(low);
      field += per_block * width * 2;
      low += width;
    }
    return load(scales + block * lanes) *
           __builtin_convertvector(__builtin_bit_cast(i32x16, all) - Zero, f32x16);
  }
  template <int Cols, int Group>
  inline float at_lane(index tile, index group, index lane) const {
    return at<Cols, Group>(tile, group)[lane];
  }
};

// One integer of a row and `Own` columns: 4 bits, two rows to a byte, or a byte.
template <int Own, int Bits>
struct GroupShifts {
  const u8* integers;
  template <int Cols, int Group>
  inline f32x16 at(index tile, index group) const {
    const index at = tile * ((Cols + Own - 1) / Own) + group / (Own / Group);
    if constexpr (Bits > 4) {
      return __builtin_convertvector(widen(load_unaligned<u8x16>(integers + at * lanes)), f32x16);
    } else {
      const u8x8 pairs = load_unaligned<u8x8>(integers + at * 8);
      const u8x8 low = pairs & static_cast<u8>(15);
      const u8x8 high = pairs >> static_cast<u8>(4);
      const u8x16 all =
          __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
      return __builtin_convertvector(widen(all), f32x16);
    }
  }
};

// Only the tensor has a scale.
struct NoScales {};
struct NoOffsets {};

// --- what every number of a matrix is multiplied by, where there is such a thing

struct NoFactor {
  SINTER_INLINE f32x16 of_rows(index) { return splat(1.0F); }
};
// One number of each of Count matrices that were made one weight, then the rows at which they
// begin.
template <int Count>
struct TensorFactors {
  const float* factors;
  inline f32x16 of_rows(index row) const {
    f32x16 out = splat(factors[0]);
    if constexpr (Count > 1) {
      const i32* starts = reinterpret_cast<const i32*>(factors + Count);
      const i32x16 rows =
          i32x16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + static_cast<i32>(row);
      for (int i = 1; i < Count; ++i) out = rows >= starts[i] ? splat(factors[i]) : out;
    }
    return out;
  }
};

// The codes of a matrix, what they stand for, and its scales. Group: columns whose products are
// summed as integers.
template <int Cols, int Group, class Codes, class Levels, class Scales, class Offsets = NoOffsets,
          class Factor = NoFactor>
struct CodedWeights {
  static constexpr int cols = Cols, group = Group, groups = Cols / Group;
  static constexpr int level_bits = Levels::bits;
  static constexpr bool has_scales = !__is_same(Scales, NoScales);
  static constexpr bool has_offsets = has_offset<Levels>;
  // Columns that share a scale of the activations; 0: all.
  static constexpr int x_group = has_scales ? Group : 0;
  static constexpr int unit = Codes::unit(Group);
  static constexpr int unit_groups = unit / Group;
  static constexpr index unit_bytes = Codes::bytes(unit);
  static constexpr index tile_bytes = Codes::bytes(Cols);
  static_assert(Cols % unit == 0);
  using levels_type = Levels;

  const u8* codes;
  Scales scales;
  Offsets offsets;
  Factor factor;

  // Levels of columns 4 * step .. of a unit.
  SINTER_INLINE u32x16 levels(const u8* unit_codes, int step) {
    return Levels::levels(Codes::unpack(unit_codes, unit, step));
  }
  inline f32x16 scale(index tile, index g) const {
    return scales.template at<Cols, Group>(tile, g) * scale_factor();
  }
  // What the sum of a group of activations is multiplied by, before their scale.
  inline f32x16 offset(index tile, index g, f32x16 scale) const {
    const f32x16 stored = offsets.template at<Cols, Group>(tile, g);
    return offset_of(stored, scale);
  }
  // The first Width numbers of row `row`, which is lane `lane` of tile `tile`.
  template <int Width>
  inline void decode(index tile, index lane, index row, float* out) const {
    const float all = factor.of_rows(row)[0];
    for (int g = 0; g < groups; ++g) {
      const u8* here = codes + tile * tile_bytes + g / unit_groups * unit_bytes;
      float s = 1;
      float offset = 0;
      if constexpr (has_scales) s = scales.template at_lane<Cols, Group>(tile, g, lane);
      if constexpr (has_offsets) {
        offset = offset_of(offsets.template at<Cols, Group>(tile, g), splat(s))[lane];
      }
      for (int step = 0; step < Group / 4; ++step) {
        const u32 four = Levels::levels_lane(
            Codes::unpack_lane(here, unit, g % unit_groups * (Group / 4) + step, lane));
        for (int k = 0; k < 4; ++k) {
          const float level = static_cast<float>((four >> (8 * k)) & 255U);
          float value = 0;
          if constexpr (has_offsets) {
            value = s * level + offset;
          } else {
            value = s * (level - Levels::zero) * scale_factor();
          }
          const int col = g * Group + step * 4 + k;
          if (Width == Cols || col < Width) out[col] = all * value;
        }
      }
    }
  }

 private:
  static constexpr float scale_factor() {
    if constexpr (has_offsets) {
      return 1;
    } else {
      return Levels::factor;
    }
  }
  SINTER_INLINE f32x16 offset_of(f32x16 stored, f32x16 scale) {
    if constexpr (is_shifted<Levels>) {
      return -stored * scale;
    } else if constexpr (Offsets::is_minimum) {
      return -stored;
    } else {
      return stored;
    }
  }
};

// Elements in 16 or 32 bits: [tile][column][16].
template <int Cols, class Element>
struct DenseWeights {
  static constexpr int cols = Cols;
  static constexpr int group = Cols;
  using element = Element;
  const Element* values;

  // Column k of the rows of a tile.
  inline f32x16 column(index tile, int k) const {
    return load(values + (tile * Cols + k) * tile_rows);
  }
  template <int Width>
  inline void decode(index tile, index lane, index, float* out) const {
    static_assert(Width == Cols);
    for (int k = 0; k < Cols; ++k)
      out[k] = load_scalar(values + (tile * Cols + k) * tile_rows + lane);
  }
};

// E4M3 with a scale of every group; multiplied as floats.
template <int Cols, int Group, class Scales, class Factor = NoFactor>
struct Fp8Weights {
  static constexpr int cols = Cols;
  static constexpr int group = Group;
  using element = e4m3;
  const e4m3* values;
  Scales scales;
  Factor factor;

  template <int Width>
  inline void decode(index tile, index lane, index row, float* out) const {
    static_assert(Width == Cols);
    const float all = factor.of_rows(row)[0];
    for (int k = 0; k < Cols; ++k) {
      float s = 1;
      if constexpr (!__is_same(Scales, NoScales))
        s = scales.template at_lane<Cols, Group>(tile, k / Group, lane);
      out[k] = all * (s * load_scalar(values + (tile * Cols + k) * tile_rows + lane));
    }
  }
};

}  // namespace sinter
