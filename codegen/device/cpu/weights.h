// Packed weights as the host kernels read them. codegen/layout_cpu.cpp writes this layout; change
// both together.
//
// Rows are tiled by 16, one lane each. A coded tile is, group after group of columns, a block of
// `group * 2 * bits` bytes. The width is split into fields of 4, 2 and 1 bits (3 = 2+1, 5 = 4+1, 6
// = 4+2, 7 = 4+2+1; 8 is one field), widest first, lowest bits first. In a field of w bits every
// 64-byte chunk holds 8/w steps of four columns: byte 4*lane + k carries the codes of column 4*step
// + k, step s of the chunk in bits [s*w, (s+1)*w). So one shift and one mask give the four codes of
// all 16 rows, with no crossing of lanes. Scales and biases are apart: [tile][group][16].
#pragma once

#include "cpu/dot.h"
#include "cpu/vector.h"

namespace sinter {

constexpr int tile_rows = lanes;

template <int Bits>
struct Codes {
  // Codes of columns 4*step..4*step+3 of a group for the 16 rows; four bytes to a lane.
  SINTER_INLINE u32x16 unpack(const u8* group, int group_size, int step) {
    u32x16 codes = u32x16(0);
    index base = 0;
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(width)) continue;
      const int per_chunk = 8 / width;
      const u32x16 chunk = load_unaligned<u32x16>(group + base + (step / per_chunk) * 64);
      const int shift = (step % per_chunk) * width - low;
      const u32 mask = 0x01010101U * (((1U << width) - 1U) << low);
      codes |= (shift >= 0 ? chunk >> static_cast<u32>(shift) : chunk << static_cast<u32>(-shift)) &
               mask;
      base += index{group_size} * 2 * width;
      low += width;
    }
    return codes;
  }
  // The same four codes for one of the 16 rows.
  SINTER_INLINE u32 unpack_lane(const u8* group, int group_size, int step, index lane) {
    u32 codes = 0;
    index base = 0;
    int low = 0;
    for (int width = 8; width > 0; width /= 2) {
      if (!has_field(width)) continue;
      const int per_chunk = 8 / width;
      const u32 word = load_unaligned<u32>(group + base + (step / per_chunk) * 64 + lane * 4);
      codes |= ((word >> ((step % per_chunk) * width)) & (0x01010101U * ((1U << width) - 1U)))
               << low;
      base += index{group_size} * 2 * width;
      low += width;
    }
    return codes;
  }
  static constexpr bool has_field(int width) {
    return Bits == 8 ? width == 8 : (width < 8 && (Bits & width) != 0);
  }
};

// w = scale * code + bias.
template <int Cols, int Bits, int Group, class Scale>
struct AffineWeights {
  static constexpr int cols = Cols, bits = Bits, group = Group, groups = Cols / Group;
  static constexpr bool has_bias = true;
  static constexpr index tile_bytes = index{groups} * Group * 2 * Bits;
  using scale_type = Scale;
  const u8* codes;
  const Scale* scales;
  const Scale* biases;
};

// w = scale * (code - TwiceZero / 2).
template <int Cols, int Bits, int Group, class Scale, int TwiceZero>
struct SymmetricWeights {
  static constexpr int cols = Cols, bits = Bits, group = Group, groups = Cols / Group;
  static constexpr bool has_bias = false;
  static constexpr float zero = 0.5F * TwiceZero;
  static constexpr index tile_bytes = index{groups} * Group * 2 * Bits;
  using scale_type = Scale;
  const u8* codes;
  const Scale* scales;
};

// Elements in 16 or 32 bits: [tile][column][16].
template <int Cols, class Element>
struct DenseWeights {
  static constexpr int cols = Cols;
  using element = Element;
  const Element* values;
};

}  // namespace sinter
