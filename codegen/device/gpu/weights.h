// Packed weights as the GPU kernels read them. codegen/layout.cpp writes this layout; change both
// together.
//
// Rows are tiled by 16, columns by blocks of 128. The width is split into fields of 4, 2 and 1 bits
// (3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1; 8 is one field, stored less 128, since matrix units
// multiply signed bytes), widest first, lowest bits first. In a field of w bits a segment of 32
// columns is w words of 4 bytes: byte k of a word carries columns 4 step + k for the 8/w steps of
// that word, step s of the segment in bits (s w) % 8, so that one shift and one mask give the codes
// of four columns. A row of a block is 4 w words; they are stored 16 bytes at a time, row after
// row:
//   [tile][block][field][w][16 rows][16 bytes]
// A last block of fewer segments is stored a word at a time: [field][words][16 rows][4 bytes].
// Scales and biases are apart: [tile][block][16 rows][groups of the block].
#pragma once

#include "gpu/platform.h"

namespace sinter {

constexpr int tile_rows = 16;
constexpr int block_cols = 128;
constexpr int segment_cols = 32;
constexpr int block_segments = block_cols / segment_cols;

constexpr bool has_field(int bits, int width) {
  return bits == 8 ? width == 8 : width < 8 && (bits & width) != 0;
}
constexpr int count_fields(int bits) {
  int count = 0;
  for (int width = 8; width > 0; width /= 2) count += has_field(bits, width) ? 1 : 0;
  return count;
}

template <int Cols, int Bits, int Group, class Scale>
struct CodedWeights {
  static constexpr int cols = Cols, bits = Bits, group = Group, groups = Cols / Group;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int block_groups = block_cols / Group;
  static constexpr int last_segments = (Cols - (blocks - 1) * block_cols) / segment_cols;
  static constexpr int block_bytes = tile_rows * block_cols * Bits / 8;
  static constexpr index tile_bytes = index{tile_rows} * Cols * Bits / 8;
  // What was taken off the stored codes.
  static constexpr float code_offset = Bits == 8 ? 128.0F : 0.0F;
  using scale_type = Scale;

  static constexpr __device__ bool is_whole(int block) {
    return last_segments == block_segments || block < blocks - 1;
  }
  static constexpr __device__ int segments(int block) {
    return is_whole(block) ? block_segments : last_segments;
  }
  // Of row 0's first group of a block; rows of a block follow one another.
  static __device__ index scale_at(index tile, int block) {
    return (tile * groups + index{block} * block_groups) * tile_rows;
  }
};

// w = scale * code + bias.
template <int Cols, int Bits, int Group, class Scale>
struct AffineWeights : CodedWeights<Cols, Bits, Group, Scale> {
  static constexpr bool has_bias = true;
  const u8* codes;
  const Scale* scales;
  const Scale* biases;
  __device__ AffineWeights(const u8* c, const Scale* s, const Scale* b)
      : codes(c), scales(s), biases(b) {}
};

// w = scale * (code - TwiceZero / 2).
template <int Cols, int Bits, int Group, class Scale, int TwiceZero>
struct SymmetricWeights : CodedWeights<Cols, Bits, Group, Scale> {
  static constexpr bool has_bias = false;
  static constexpr float zero = 0.5F * TwiceZero;
  const u8* codes;
  const Scale* scales;
  __device__ SymmetricWeights(const u8* c, const Scale* s) : codes(c), scales(s) {}
};

// Elements in 16 or 32 bits, 16 bytes of a row at a time: [tile][chunk][16 rows][16 bytes].
template <int Cols, class Element>
struct DenseWeights {
  static constexpr int cols = Cols;
  static constexpr int chunk = 16 / static_cast<int>(sizeof(Element));
  static constexpr int chunks = (Cols + chunk - 1) / chunk;
  using element = Element;
  const Element* values;
};

// Four codes of a segment, from its words of every field: columns 4 step .. 4 step + 3.
// word(field's first word of this segment, how many) is called with constants.
template <int Bits, class Word>
SINTER_INLINE u32 unpack(int step, const Word& word) {
  u32 codes = 0;
  int low = 0;
  int before = 0;  // words of the fields before, in a segment
#pragma clang loop unroll(full)
  for (int width = 8; width > 0; width /= 2) {
    if (!has_field(Bits, width)) continue;
    const u32 bits = word(before + step * width / 8);
    const int shift = step * width % 8 - low;
    const u32 mask = 0x01010101U * (((1U << width) - 1U) << low);
    codes |= (shift >= 0 ? bits >> shift : bits << -shift) & mask;
    low += width;
    before += width;
  }
  return codes;
}

// The words of one row of a block, segment by segment in order of field: word(segment, i).
template <class W>
struct RowCodes {
  u32 words[block_segments * W::bits];

  // Segments that the block does not have are zero.
  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block, int row) {
    const u8* from = w.codes + tile * W::tile_bytes + index{block} * W::block_bytes;
    int before = 0;
    if (W::is_whole(block)) {
#pragma clang loop unroll(full)
      for (int width = 8; width > 0; width /= 2) {
        if (!has_field(W::bits, width)) continue;
#pragma clang loop unroll(full)
        for (int c = 0; c < width; ++c) {
          const auto v = load_stream<u32x4>(from + (c * tile_rows + row) * 16);
#pragma clang loop unroll(full)
          for (int i = 0; i < 4; ++i) {
            const int at = c * 4 + i;  // among the field's words of this row
            words[at / width * W::bits + before + at % width] = v[i];
          }
        }
        from += tile_rows * 16 * width;
        before += width;
      }
    } else {
#pragma clang loop unroll(full)
      for (int width = 8; width > 0; width /= 2) {
        if (!has_field(W::bits, width)) continue;
#pragma clang loop unroll(full)
        for (int at = 0; at < block_segments * width; ++at)
          words[at / width * W::bits + before + at % width] =
              at < W::last_segments * width ? load_stream<u32>(from + (at * tile_rows + row) * 4)
                                            : 0U;
        from += tile_rows * 4 * W::last_segments * width;
        before += width;
      }
    }
  }
  // Columns 4 step .. of segment s; constants after unrolling.
  __device__ __attribute__((always_inline)) u32 four(int s, int step) const {
    return unpack<W::bits>(step, [&](int i) { return words[s * W::bits + i]; });
  }
};

// The scales (or biases) of one row of a block.
template <class W>
struct RowScales {
  static constexpr int count = W::block_groups;
  float values[count];

  __device__ __attribute__((always_inline)) void read(const typename W::scale_type* from,
                                                      index tile, int block, int row) {
    using Scale = typename W::scale_type;
    struct alignas(sizeof(Scale) * count) Row {
      Scale values[count];
    };
    const index at = W::scale_at(tile, block);
    if (W::is_whole(block) && count * sizeof(Scale) <= 16) {
      const Row v = load_stream_row<Row>(from + at + row * count);
#pragma clang loop unroll(full)
      for (int g = 0; g < count; ++g) values[g] = widen(v.values[g]);
    } else {
      constexpr int here = W::last_segments * segment_cols / W::group;
#pragma clang loop unroll(full)
      for (int g = 0; g < count; ++g)
        values[g] = g < here ? widen(from[at + row * here + g]) : 0.0F;
    }
  }

 private:
  template <class Row>
  static __device__ __attribute__((always_inline)) Row load_stream_row(const void* p) {
    if constexpr (sizeof(Row) == 16) return __builtin_bit_cast(Row, load_stream<u32x4>(p));
    if constexpr (sizeof(Row) == 8) return __builtin_bit_cast(Row, load_stream<u32x2>(p));
    if constexpr (sizeof(Row) == 4) return __builtin_bit_cast(Row, load_stream<u32>(p));
    if constexpr (sizeof(Row) == 2) return __builtin_bit_cast(Row, load_stream<u16>(p));
  }
};

}  // namespace sinter
