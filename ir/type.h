// Types of the tensor IR: element types, shapes with symbols, and weight descriptors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sinter::ir {

// e8m0 and e4m3 are single bytes (OCP Microscaling): 2^(byte - 127), and a float of 4 exponent and
// 3 fraction bits. Only weights have them: as scales, e4m3 also as codes. q8 and q4, codes with
// scales, are of states alone (state_format.h).
enum class DType { f32, f16, bf16, i32, e8m0, e4m3, q8, q4 };

int byte_size(DType dtype);     // 0 of those of states
const char* name(DType dtype);  // "f32", ...
constexpr bool is_of_states(DType dtype) { return dtype == DType::q8 || dtype == DType::q4; }

// One extent of a shape. A symbol stands for a number known only when a step runs:
//   T  tokens of this step            L  rows of the step whose logits are wanted (1 <= L <= T)
//   C  context capacity of a session
struct Dim {
  int64_t value = 0;  // meaningful when symbol == 0
  char symbol = 0;    // 0, 'T', 'L' or 'C'

  Dim() = default;
  Dim(int64_t v) : value(v) {}  // NOLINT(google-explicit-constructor): shapes read as {T, 256}
  static Dim of(char s) {
    Dim d;
    d.symbol = s;
    return d;
  }
  bool is_symbol() const { return symbol != 0; }
  bool operator==(const Dim&) const = default;
};

// `tensor<TxHxf32>`: row-major.
struct TensorType {
  DType dtype = DType::f32;
  std::vector<Dim> shape;
  bool operator==(const TensorType&) const = default;
};

// How codes become numbers; `scale`, `bias` and `shift` are of the code's group.
enum class CodeMap {
  dense,      // elements of type `scale_type`, no codes
  affine,     // w = scale * code + bias
  symmetric,  // w = scale * (code - zero), `zero` one constant for the whole matrix
  ternary,    // w = scale * (code - 1), codes 0..2
  shifted,    // w = scale * (code - shift), the shift an integer as wide as a code
  fp4,        // w = scale * E2M1(code)
  iq4,        // w = scale * kIq4Levels[code]
  fp8,        // w = scale * E4M3(code)
  sign,       // w = scale * (2 code - 1), one bit
};

// E2M1 doubled, which makes all of them integers, the levels of GGUF's IQ4 types, and signs.
inline constexpr std::array<int8_t, 16> kFp4Doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                       0, -1, -2, -3, -4, -6, -8, -12};
inline constexpr std::array<int8_t, 16> kIq4Levels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                      1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr std::array<int8_t, 2> kSigns = {-1, 1};

struct CodeMapInfo {
  CodeMap map;
  std::string_view name;  // in the text form
  int bits;               // per code where the map has one width; 0 where the format says it
  // Where a table says what codes stand for: unit * levels[code].
  std::span<const int8_t> levels = {};
  float unit = 1;
  // Of the unsigned integers that kernels multiply, which are levels less the lowest one; 0: they
  // multiply the codes.
  int level_bits = 0;
};

// In the order of the enumeration.
inline constexpr std::array<CodeMapInfo, 9> kCodeMaps = {{
    {CodeMap::dense, "dense", 0},
    {CodeMap::affine, "affine", 0},
    {CodeMap::symmetric, "symmetric", 0},
    {CodeMap::ternary, "ternary", 0},
    {CodeMap::shifted, "shifted", 0},
    {CodeMap::fp4, "fp4", 4, kFp4Doubled, 0.5F, 5},
    {CodeMap::iq4, "iq4", 4, kIq4Levels, 1, 8},
    {CodeMap::fp8, "fp8", 8},
    {CodeMap::sign, "sign", 1, kSigns},
}};
constexpr const CodeMapInfo& info(CodeMap map) { return kCodeMaps[static_cast<size_t>(map)]; }

// One descriptor covers every low-bit format; a kernel is generated from it. Everything that is
// stored per group or block lies along the columns.
struct WeightFormat {
  CodeMap map = CodeMap::dense;
  int bits = 0;     // per code, 1..8; 0 for dense
  int group = 0;    // columns that share a scale; 0 for dense, and where only the tensor has one
  double zero = 0;  // symmetric only; a multiple of 1/2
  DType scale_type = DType::f32;  // of scales and biases; of the elements when dense
  // Two levels of scales (block > 0): the scale of a group is an integer of sub_bits, less
  // sub_zero, times the scale of its block of so many columns. For affine the bias of a group is
  // an integer of sub_bits times minus the bias of the block.
  int block = 0;
  int sub_bits = 0;
  int sub_zero = 0;
  bool tensor_scale = false;  // every number is also multiplied by one float32 of the matrix
  bool base3 = false;         // ternary only: codes are stored five to a byte

  bool is_dense() const { return map == CodeMap::dense; }
  bool has_biases() const { return map == CodeMap::affine; }
  // The constant zero point for formats that store no biases (symmetric: zero; ternary: 1).
  double zero_point() const { return map == CodeMap::ternary ? 1.0 : zero; }
  // What kernels take off when they multiply unsigned numbers: with a table, minus its lowest
  // level.
  double unsigned_zero_point() const;
  // Bits of these numbers.
  int level_bits() const { return info(map).level_bits > 0 ? info(map).level_bits : bits; }
  // Columns that share a number of scale_type; 0 when there are none.
  int scale_cols() const { return block > 0 ? block : group; }
  // Stored bits of codes alone, and with all that is stored per group and block.
  double bits_per_code() const;
  double bits_per_weight() const;
  bool operator==(const WeightFormat&) const = default;
};

// `weight<out x in, affine b1 g128 f16>`; vectors are `weight<256, f16>`; stacked experts are
// `weight<E x out x in, ...>`. `..., ternary b2 g128 f16, rotated 1024>`: each row was rotated in
// blocks of 1024 columns before it was quantized, so that it is multiplied with rows to which
// `rotate` did the same. Kernels and layouts do not ask.
struct WeightType {
  std::vector<int64_t> shape;  // [experts, out, in], [out, in] or [n]; groups run along the last
  WeightFormat format;
  int64_t rotated = 0;  // columns of a block; 0: not rotated

  // Of all experts, one after another; 1 for vectors.
  int64_t rows() const;
  int64_t cols() const { return shape.empty() ? 0 : shape.back(); }
  int64_t elements() const { return rows() * cols(); }
  // Bytes that the packed form needs: codes, scales and biases, without padding.
  int64_t packed_bytes() const;
  bool operator==(const WeightType&) const = default;
};

// What a state is found by, and so how long its numbers stay.
enum class StateKind {
  paged,  // position: [kv_heads, C, head_dim] has a row for each
  ring,   // the same, of the last positions: those before the last W of [kv_heads, W, head_dim] go
  fixed,  // its sequence alone, however long that is; zeros before the first row
};

struct StateKindInfo {
  StateKind kind;
  std::string_view name;  // in the text form and in plans
  bool by_position;       // rows of heads are appended, one for each position
};

// In the order of the enumeration.
inline constexpr std::array<StateKindInfo, 3> kStateKinds = {{
    {StateKind::paged, "paged", true},
    {StateKind::ring, "ring", true},
    {StateKind::fixed, "fixed", false},
}};
constexpr const StateKindInfo& info(StateKind kind) {
  return kStateKinds[static_cast<size_t>(kind)];
}

// `state<2xCx64, paged f16>`: what steps of a sequence leave for later ones.
struct StateType {
  StateKind kind = StateKind::paged;
  TensorType numbers;  // of a sequence; formats are those of state_format.h
  bool operator==(const StateType&) const = default;
};

using Type = std::variant<TensorType, WeightType, StateType>;

// The text form, e.g. "tensor<Tx256xf32>", "weight<1024x256, symmetric b1 z0.5 g128 f16>",
// "state<3x256, fixed f32>".
std::string to_string(const Dim& dim);
std::string to_string(const TensorType& type);
std::string to_string(const WeightFormat& format);
std::string to_string(const WeightType& type);
std::string to_string(const StateType& type);
std::string to_string(const Type& type);

}  // namespace sinter::ir
