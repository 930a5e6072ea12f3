// Packed weights as the GPU kernels read them. codegen/layouts/gpu16.cpp writes this layout;
// change both together.
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
// Scales and biases are apart: [tile][block][16 rows][groups of the block]; where groups do not
// divide a block, [tile][group][16 rows]. A row may have been made longer by columns whose codes
// are 0 (kernel_type in codegen/layouts/layout.h); activations are 0 there.
#pragma once

#include "gpu/platform.h"
#include "sizes.h"

namespace sinter {

constexpr int tile_rows = sizes::lanes;
constexpr int block_cols = sizes::gpu_block;
constexpr int segment_cols = 32;
constexpr int block_segments = block_cols / segment_cols;

constexpr bool has_field(int bits, int width) {
  return bits == 8 ? width == 8 : width < 8 && (bits & width) != 0;
}

// A field of codes: its width, and the bits of the wider fields, which lie below it and before it.
template <int Width, int Below>
struct Field {
  static constexpr int width = Width;
  static constexpr int below = Below;
};
// body(Field) for every field of codes of Bits bits, the widest first.
template <int Bits, class Body>
SINTER_INLINE void each_field(const Body& body) {
  if constexpr (has_field(Bits, 8)) body(Field<8, 0>{});
  if constexpr (has_field(Bits, 4)) body(Field<4, (Bits & 8)>{});
  if constexpr (has_field(Bits, 2)) body(Field<2, (Bits & 12)>{});
  if constexpr (has_field(Bits, 1)) body(Field<1, (Bits & 14)>{});
}
constexpr int count_fields(int bits) {
  int count = 0;
  for (int width = 8; width > 0; width /= 2) count += has_field(bits, width) ? 1 : 0;
  return count;
}

// --- how codes are stored

template <int Bits>
struct BitCodes {
  static constexpr int bits = Bits;
  static constexpr index tile_bytes(int cols) { return index{tile_rows} * cols * Bits / 8; }
};

// Codes 0..2, five to a byte as the fraction 0.ttttt of 256 in base 3: a row of 256 columns has 13
// words, of which half h has words 6 h .. 6 h + 5 for 30 of its steps and digits 2 h and 2 h + 1 of
// word 12 for the last two. [tile][256 columns][13][16 rows][4 bytes].
struct TritCodes {
  static constexpr int bits = 2;
  static constexpr int words = 13;
  static constexpr index tile_bytes(int cols) { return index{cols} / 256 * words * 4 * tile_rows; }
  // The digit of four bytes; power = 3^digit.
  static __device__ __attribute__((always_inline)) u32 digit(u32 bytes, u32 power) {
    constexpr u32 mask = 0x00ff00ffU;
    const u32 even = (((bytes & mask) * power & mask) * 3U >> 8) & 0x00030003U;
    const u32 odd = (((bytes >> 8 & mask) * power & mask) * 3U) & 0x03000300U;
    return even | odd;
  }
  static constexpr u32 power(int digit) {
    u32 power = 1;
    for (int i = 0; i < digit; ++i) power *= 3;
    return power;
  }
};

// --- what codes stand for: w = scale * factor * (level(code) - zero), levels being signed bytes;
// or, with an offset of the group, w = scale * code + offset.

template <int Bits>
struct PlainLevels {
  static constexpr bool is_table = false;
  // What was taken off the stored codes.
  static constexpr float code_offset = Bits == 8 ? 128.0F : 0.0F;
  static __device__ __attribute__((always_inline)) u32 levels(u32 codes) { return codes; }
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
// E2M1, twice its value.
struct Fp4 {
  static constexpr bool is_table = true;
  static constexpr float code_offset = 0, zero = 0, factor = 0.5F;
  static __device__ __attribute__((always_inline)) u32 levels(u32 codes) {
    return lookup(0x03020100U, 0x0c080604U, 0xfdfeff00U, 0xf4f8fafcU, codes);
  }
};
// The levels of GGUF's IQ4 types.
struct Iq4 {
  static constexpr bool is_table = true;
  static constexpr float code_offset = 0, zero = 0, factor = 1;
  static __device__ __attribute__((always_inline)) u32 levels(u32 codes) {
    return lookup(0xbfad9881U, 0xf6eaddcfU, 0x26190d01U, 0x71594535U, codes);
  }
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

// --- scales and offsets. one(tile, block, row, g): those of group g (of Group columns) of a block,
// as they are held. hold(...): of all its groups.

// Numbers of `Count` groups as they were loaded: a conversion would wait for its load, and what is
// under way with it.
template <class T, int Count>
struct HeldNumbers {
  T numbers[Count];
  SINTER_MEMBER float at(int g) const { return widen(numbers[g]); }
};
template <int Count>
struct HeldNumbers<float, Count> {
  float numbers[Count];
  SINTER_MEMBER float at(int g) const { return numbers[g]; }
};

template <int Size>
struct BytesOf;
template <>
struct BytesOf<2> {
  using type = u16;
};
template <>
struct BytesOf<4> {
  using type = u32;
};
template <>
struct BytesOf<8> {
  using type = u32x2;
};
template <>
struct BytesOf<16> {
  using type = u32x4;
};

// One number of T per `Own` columns, a multiple of Group.
template <int Own, class T>
struct GroupScales {
  // Whether the numbers of a block and row are side by side.
  static constexpr bool by_block = block_cols % Own == 0;
  static constexpr int per_block = by_block ? block_cols / Own : 1;
  using stored = T;
  const T* scales;

  template <int Cols, int Group>
  __device__ __attribute__((always_inline)) T one(index tile, int block, int row, int g) const {
    if constexpr (by_block) {
      constexpr int last = Cols / Own - Cols / block_cols * per_block;
      const int here = (block + 1) * block_cols <= Cols ? per_block : last;
      return scales[(tile * (Cols / Own) + index{block} * per_block) * tile_rows + row * here +
                    g * Group / Own];
    } else {
      const int at = (block * block_cols + g * Group) / Own;
      return scales[(tile * ((Cols + Own - 1) / Own) + at) * tile_rows + row];
    }
  }
  template <int Cols, int Group, int Count>
  __device__ __attribute__((always_inline)) void hold(index tile, int block, int row,
                                                      T (&values)[Count]) const {
    struct alignas(sizeof(T) * per_block) Row {
      T values[per_block];
    };
    if constexpr (by_block && sizeof(Row) > 1 && sizeof(Row) <= 16) {
      if (Cols % block_cols != 0 && (block + 1) * block_cols > Cols) {
        hold_singly<Cols, Group>(tile, block, row, values);
        return;
      }
      const auto bits = load_stream<typename BytesOf<sizeof(Row)>::type>(
          scales + (tile * (Cols / Own) + index{block} * per_block) * tile_rows + row * per_block);
      const Row numbers = __builtin_bit_cast(Row, bits);
#pragma clang loop unroll(full)
      for (int g = 0; g < Count; ++g) values[g] = numbers.values[g * Group / Own];
    } else {
      hold_singly<Cols, Group>(tile, block, row, values);
    }
  }

 private:
  template <int Cols, int Group, int Count>
  __device__ __attribute__((always_inline)) void hold_singly(index tile, int block, int row,
                                                             T (&values)[Count]) const {
#pragma clang loop unroll(full)
    for (int g = 0; g < Count; ++g)
      values[g] =
          block * block_cols + g * Group < Cols ? one<Cols, Group>(tile, block, row, g) : T{};
  }
};

// Two levels: an integer of Bits bits of every group, less Zero, times the number of the block of
// `Own` columns; with Minima also offsets, the product of another integer and number. All of a
// row's block is one record of bits: integers of scales, of minima, both numbers; its words lie
// [tile][block][word][16 rows][4 bytes], the last of two bytes where it has no more.
template <int Group_, int Own, class T, int Bits, int Zero, bool Minima>
struct BlockScales {
  using stored = float;
  static constexpr int groups = Own / Group_;
  static constexpr int numbers_at = (Minima ? 2 : 1) * groups * Bits / 8;  // in bytes
  static constexpr int bytes = numbers_at + (Minima ? 2 : 1) * static_cast<int>(sizeof(T));
  static constexpr int words = (bytes + 3) / 4;
  static constexpr int parts = Own / block_cols;
  static_assert(sizeof(T) == 2 && Own % block_cols == 0 && numbers_at % 2 == 0);
  const u8* records;

  template <int Cols>
  __device__ __attribute__((always_inline)) const u8* record(index tile, int block) const {
    return records + (tile * (Cols / Own) + block / parts) * bytes * tile_rows;
  }
  static __device__ __attribute__((always_inline)) u32 word(const u8* record, int w, int row) {
    if ((w + 1) * 4 <= bytes)
      return *reinterpret_cast<const u32*>(record + (w * tile_rows + row) * 4);
    return *reinterpret_cast<const u16*>(record + w * tile_rows * 4 + row * 2);
  }
  static __device__ __attribute__((always_inline)) float number(u32 bits) {
    return widen(__builtin_bit_cast(T, static_cast<u16>(bits)));
  }

  template <int Cols, int Group>
  __device__ __attribute__((always_inline)) void one(index tile, int block, int row, int g,
                                                     float& scale, float& offset) const {
    const u8* from = record<Cols>(tile, block);
    const auto integer = [&](int bit) {
      const u32 low = word(from, bit / 32, row);
      const u32 high = bit % 32 + Bits > 32 ? word(from, bit / 32 + 1, row) : 0U;
      const u64 both = static_cast<u64>(high) << 32 | low;
      return static_cast<u32>(both >> (bit % 32)) & ((1U << Bits) - 1U);
    };
    const auto half = [&](int at) { return number(word(from, at / 4, row) >> (at % 4 * 8)); };
    const int i = block % parts * (groups / parts) + g;
    scale = half(numbers_at) * static_cast<float>(static_cast<int>(integer(i * Bits)) - Zero);
    offset = 0;
    if constexpr (Minima)
      offset = half(numbers_at + 2) * static_cast<float>(integer((groups + i) * Bits));
  }
  template <int Cols, int Group, int Count>
  __device__ __attribute__((always_inline)) void hold(index tile, int block, int row,
                                                      float (&scale)[Count],
                                                      float (&offset)[Count]) const {
    const u8* from = record<Cols>(tile, block);
    u32 all[words];
#pragma clang loop unroll(full)
    for (int w = 0; w < words; ++w) all[w] = word(from, w, row);
    const auto half = [&](int at) { return number(all[at / 4] >> (at % 4 * 8)); };
    const auto integer = [&](int bit) {
      u32 value = all[bit / 32] >> (bit % 32);
      if (bit % 32 + Bits > 32) value |= all[bit / 32 + 1] << (32 - bit % 32);
      return static_cast<int>(value & ((1U << Bits) - 1U));
    };
    const int part = block % parts;
    // Constants for every part, of which one is taken: words stay in registers.
    const auto chosen = [&](int first) {
      int value = integer(first * Bits);
#pragma clang loop unroll(full)
      for (int p = 1; p < parts; ++p) {
        const int other = integer((first + p * (groups / parts)) * Bits);
        value = part == p ? other : value;
      }
      return value;
    };
    const float block_scale = half(numbers_at);
#pragma clang loop unroll(full)
    for (int g = 0; g < Count; ++g) {
      scale[g] = block_scale * static_cast<float>(chosen(g) - Zero);
      if constexpr (Minima)
        offset[g] = half(numbers_at + 2) * static_cast<float>(chosen(groups + g));
    }
  }
};

// One integer of a row and `Own` columns: 4 bits, two rows to a byte, or a byte.
template <int Own, int Bits>
struct GroupShifts {
  using stored = float;
  const u8* integers;
  template <int Cols, int Group>
  __device__ __attribute__((always_inline)) float one(index tile, int block, int row, int g) const {
    const index at = tile * ((Cols + Own - 1) / Own) + (block * block_cols + g * Group) / Own;
    if constexpr (Bits > 4) return static_cast<float>(integers[at * tile_rows + row]);
    return static_cast<float>(integers[at * 8 + row / 2] >> (row % 2 * 4) & 15);
  }
  template <int Cols, int Group, int Count>
  __device__ __attribute__((always_inline)) void hold(index tile, int block, int row,
                                                      float (&values)[Count]) const {
#pragma clang loop unroll(full)
    for (int g = 0; g < Count; ++g)
      values[g] =
          block * block_cols + g * Group < Cols ? one<Cols, Group>(tile, block, row, g) : 0.0F;
  }
};

// Only the tensor has a scale.
struct NoScales {
  using stored = float;
};
struct NoOffsets {
  using stored = float;
};

template <class Scales>
constexpr bool has_levels_of_scales = false;
template <int Group, int Own, class T, int Bits, int Zero, bool Minima>
constexpr bool has_levels_of_scales<BlockScales<Group, Own, T, Bits, Zero, Minima>> = true;

// --- what every number of a matrix is multiplied by, where there is such a thing

struct NoFactor {
  static __device__ __attribute__((always_inline)) float of_row(index) { return 1.0F; }
};
// One number of each of Count matrices that were made one weight, then the rows at which they
// begin.
template <int Count>
struct TensorFactors {
  const float* factors;
  __device__ __attribute__((always_inline)) float of_row(index row) const {
    float factor = factors[0];
#pragma clang loop unroll(full)
    for (int i = 1; i < Count; ++i)
      factor = row >= reinterpret_cast<const i32*>(factors + Count)[i] ? factors[i] : factor;
    return factor;
  }
};

// The codes of a matrix, what they stand for, and its scales. Group: columns whose products are
// summed as integers.
template <int Cols, int Group, class Codes, class Levels, class Scales, class Offsets = NoOffsets,
          class Factor = NoFactor>
struct CodedWeights {
  static constexpr int cols = Cols, bits = Codes::bits, group = Group, groups = Cols / Group;
  static constexpr int piece_cols = sizes::piece_of_codes;
  static constexpr bool has_scales = !__is_same(Scales, NoScales);
  static constexpr bool has_offsets = has_offset<Levels>;
  // Columns that share a scale of the activations; 0: all.
  static constexpr int x_group = has_scales ? Group : 0;
  static constexpr int blocks = (Cols + block_cols - 1) / block_cols;
  static constexpr int block_groups = block_cols / Group;
  static constexpr int last_segments = (Cols - (blocks - 1) * block_cols) / segment_cols;
  static constexpr int block_bytes = tile_rows * block_cols * Codes::bits / 8;
  static constexpr index tile_bytes = Codes::tile_bytes(Cols);
  static constexpr float code_offset = Levels::code_offset;
  using codes_type = Codes;
  using levels_type = Levels;
  using scales_type = Scales;

  const u8* codes;
  Scales scales;
  Offsets offsets;
  Factor factor;

  static constexpr __device__ bool is_whole(int block) {
    return last_segments == block_segments || block < blocks - 1;
  }
  static constexpr __device__ int segments(int block) {
    return is_whole(block) ? block_segments : last_segments;
  }
  // What a sum of activations is multiplied by beside the group's scale, where codes have no
  // offsets.
  static constexpr float sum_factor() {
    if constexpr (has_offsets) {
      return 0;
    } else {
      return code_offset - Levels::zero;
    }
  }
  static constexpr float scale_factor() {
    if constexpr (has_offsets) {
      return 1;
    } else {
      return Levels::factor;
    }
  }

  // Scales and offsets of `Count` groups of a row.
  template <int Count>
  struct HeldScales {
    HeldNumbers<typename Scales::stored, Count> scales;
    HeldNumbers<typename Offsets::stored, Count> offsets;

    SINTER_MEMBER void get(int g, float& scale, float& offset) const {
      scale = 1;
      offset = 0;
      if constexpr (has_scales) scale = scales.at(g);
      if constexpr (has_offsets) offset = offsets.at(g);
      if constexpr (is_shifted<Levels>) offset *= -scale;
      scale *= scale_factor();
    }
  };
  // Of all groups of a block, and of one.
  SINTER_MEMBER void hold(index tile, int block, int row, HeldScales<block_groups>& to) const {
    if constexpr (has_levels_of_scales<Scales>) {
      scales.template hold<Cols, Group>(tile, block, row, to.scales.numbers, to.offsets.numbers);
    } else if constexpr (has_scales) {
      scales.template hold<Cols, Group>(tile, block, row, to.scales.numbers);
      if constexpr (has_offsets)
        offsets.template hold<Cols, Group>(tile, block, row, to.offsets.numbers);
    }
  }
  SINTER_MEMBER void hold_one(index tile, int block, int row, int g, HeldScales<1>& to) const {
    if constexpr (has_levels_of_scales<Scales>) {
      scales.template one<Cols, Group>(tile, block, row, g, to.scales.numbers[0],
                                       to.offsets.numbers[0]);
    } else if constexpr (has_scales) {
      to.scales.numbers[0] = scales.template one<Cols, Group>(tile, block, row, g);
      if constexpr (has_offsets)
        to.offsets.numbers[0] = offsets.template one<Cols, Group>(tile, block, row, g);
    }
  }
  SINTER_MEMBER void one_scale(index tile, int block, int row, int g, float& scale,
                               float& offset) const {
    HeldScales<1> held;
    hold_one(tile, block, row, g, held);
    held.get(0, scale, offset);
  }

  // y and what a group adds: `total` is the sum of levels times integers of x, which stand for
  // numbers by `x_scale` and sum up to x_bias.
  static __device__ __attribute__((always_inline)) float add_group(float y, float total,
                                                                   float x_scale, float x_bias,
                                                                   float scale, float offset) {
    if constexpr (has_offsets)
      return fma(fma(total, x_scale, code_offset * x_bias), scale, fma(offset, x_bias, y));
    const float dot = total * x_scale;
    return fma(sum_factor() == 0.0F ? dot : fma(sum_factor(), x_bias, dot), scale, y);
  }
};

// Elements in 16 or 32 bits, 16 bytes of a row at a time: [tile][chunk][16 rows][16 bytes].
template <int Cols, class Element>
struct DenseWeights {
  static constexpr int cols = Cols, bits = 8 * static_cast<int>(sizeof(Element));
  static constexpr int piece_cols = sizes::piece_of_floats;
  static constexpr int chunk = 16 / static_cast<int>(sizeof(Element));
  static constexpr int chunks = (Cols + chunk - 1) / chunk;
  using element = Element;
  const Element* values;
  NoFactor factor = {};
  __device__ __attribute__((always_inline)) float at(index row, int k) const {
    const index run = (row / tile_rows * chunks + k / chunk) * tile_rows + row % tile_rows;
    return widen(values[run * chunk + k % chunk]);
  }
  static __device__ __attribute__((always_inline)) float scale(index, int, int) { return 1.0F; }
};

// E4M3 with a scale of every group, in the order of dense elements; multiplied as floats.
template <int Cols, int Group, class Scales, class Factor = NoFactor>
struct Fp8Weights {
  static constexpr int cols = Cols, bits = 8;
  static constexpr int piece_cols = sizes::piece_of_floats;
  static constexpr int chunk = 16;
  static constexpr int chunks = (Cols + chunk - 1) / chunk;
  using element = e4m3;
  const e4m3* values;
  Scales scales;
  Factor factor;
  // Of the columns from chunk number c on.
  __device__ __attribute__((always_inline)) float scale(index tile, int row, int c) const {
    const int k = c * chunk;
    if constexpr (__is_same(Scales, NoScales))
      return 1.0F;
    else
      return HeldNumbers<typename Scales::stored, 1>{
          {scales.template one<Cols, Group>(tile, k / block_cols, row, k % block_cols / Group)}}
          .at(0);
  }
};

// The first four elements of dense or E4M3 weights in `bits`, which then has the rest.
template <class W>
SINTER_INLINE f32x4 take_four(u32x4& bits, float scale) {
  using Element = typename W::element;
  constexpr int words = sizeof(Element);
  struct alignas(16) Elements {
    Element values[W::chunk];
  };
  const Elements elements = __builtin_bit_cast(Elements, bits);
  f32x4 four;
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; ++i) four[i] = widen(elements.values[i]);
  if constexpr (sizeof(Element) == 1) four *= scale;
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; ++i) bits[i] = i + words < 4 ? bits[i + words] : 0U;
  return four;
}

// Four codes of a segment, from its words of every field: columns 4 step .. 4 step + 3.
// word(field's first word of this segment, how many) is called with constants.
template <int Bits, class Word>
SINTER_INLINE u32 unpack(int step, const Word& word) {
  u32 codes = 0;
  each_field<Bits>([&](auto field) __attribute__((always_inline)) {
    constexpr int width = field.width, below = field.below;
    const u32 bits = word(below + step * width / 8);
    const int shift = step * width % 8 - below;
    const u32 mask = 0x01010101U * (((1U << width) - 1U) << below);
    codes |= (shift >= 0 ? bits >> shift : bits << -shift) & mask;
  });
  return codes;
}

// The codes of one row of a block. four(s, step): of columns 4 step .. of segment s, constants
// after unrolling.
template <class W, class Codes = typename W::codes_type>
struct RowCodes {
  // Segment by segment in order of field.
  static constexpr int registers = block_segments * W::bits;
  u32 words[registers];

  // Segments that the block does not have are zero.
  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block, int row) {
    const u8* from = w.codes + tile * W::tile_bytes + index{block} * W::block_bytes;
    const bool whole = W::is_whole(block);
    each_field<W::bits>([&](auto field) __attribute__((always_inline)) {
      constexpr int width = field.width, below = field.below;
      if (whole) {
#pragma clang loop unroll(full)
        for (int c = 0; c < width; ++c) {
          const auto v = load_stream<u32x4>(
              from + (below * block_segments / 4 + c) * tile_rows * 16 + row * 16);
#pragma clang loop unroll(full)
          for (int i = 0; i < 4; ++i) {
            const int at = c * 4 + i;  // among the field's words of this row
            words[at / width * W::bits + below + at % width] = v[i];
          }
        }
      } else {
        const u8* const first = from + below * W::last_segments * tile_rows * 4;
#pragma clang loop unroll(full)
        for (int at = 0; at < block_segments * width; ++at)
          words[at / width * W::bits + below + at % width] =
              at < W::last_segments * width ? load_stream<u32>(first + (at * tile_rows + row) * 4)
                                            : 0U;
      }
    });
  }
  __device__ __attribute__((always_inline)) u32 four(int s, int step) const {
    return unpack<W::bits>(step, [&](int i) { return words[s * W::bits + i]; });
  }
};

template <class W>
struct RowCodes<W, TritCodes> {
  static constexpr int registers = 7;
  u32 words[registers];  // those of the half, and the one that both share
  u32 last_power;        // of the digit for step 30

  __device__ __attribute__((always_inline)) void read(const W& w, index tile, int block, int row) {
    const u8* from = w.codes + tile * W::tile_bytes +
                     index{block / 2} * TritCodes::words * tile_rows * 4 + row * 4;
    const int half = block % 2;
#pragma clang loop unroll(full)
    for (int i = 0; i < 6; ++i) words[i] = load_stream<u32>(from + (half * 6 + i) * tile_rows * 4);
    words[6] = load_stream<u32>(from + 12 * tile_rows * 4);
    last_power = half == 0 ? TritCodes::power(0) : TritCodes::power(2);
  }
  __device__ __attribute__((always_inline)) u32 four(int s, int step) const {
    const int at = s * 8 + step;
    if (at < 30) return TritCodes::digit(words[at / 5], TritCodes::power(at % 5));
    return TritCodes::digit(words[6], at == 30 ? last_power : last_power * 3);
  }
};

}  // namespace sinter
