// Types of the tensor IR: element types, shapes with symbols, and weight descriptors.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace sinter::ir {

enum class DType { f32, f16, bf16, i32 };

int byte_size(DType dtype);
const char* name(DType dtype);  // "f32", ...

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

// How codes become numbers. One descriptor covers every low-bit format; a kernel is generated from
// it.
enum class CodeMap {
  dense,      // elements of type `scale_type`, no codes
  affine,     // w = scale * code + bias, scale and bias per group
  symmetric,  // w = scale * (code - zero), `zero` one constant for the whole matrix
  ternary,    // w = scale * (code - 1), codes 0..2
};

struct WeightFormat {
  CodeMap map = CodeMap::dense;
  int bits = 0;                   // bits per code, 1..8; 0 for dense
  int group = 0;                  // columns that share a scale; 0 for dense
  double zero = 0;                // symmetric only; a multiple of 1/2
  DType scale_type = DType::f32;  // of scales and biases; of the elements when dense

  bool is_dense() const { return map == CodeMap::dense; }
  // The constant zero point for formats that store no biases (symmetric: zero; ternary: 1).
  double zero_point() const { return map == CodeMap::ternary ? 1.0 : zero; }
  // Stored bits per weight, scales and biases included.
  double bits_per_weight() const;
  bool operator==(const WeightFormat&) const = default;
};

// `weight<out x in, affine b1 g128 f16>`; vectors are `weight<256, f16>`.
struct WeightType {
  std::vector<int64_t> shape;  // [out, in] or [n]; groups run along the last extent
  WeightFormat format;

  int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  int64_t cols() const { return shape.empty() ? 0 : shape.back(); }
  int64_t elements() const { return rows() * cols(); }
  // Bytes that the packed form needs: codes, scales and biases, without padding.
  int64_t packed_bytes() const;
  bool operator==(const WeightType&) const = default;
};

using Type = std::variant<TensorType, WeightType>;

// The text form, e.g. "tensor<Tx256xf32>", "weight<1024x256, symmetric b1 z0.5 g128 f16>".
std::string to_string(const TensorType& type);
std::string to_string(const WeightFormat& format);
std::string to_string(const WeightType& type);
std::string to_string(const Type& type);

}  // namespace sinter::ir
