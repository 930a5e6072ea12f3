#include "ir/matrix.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace sinter::ir {
namespace {

// IEEE 754 binary16: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. Every value is exact
// in float.
float float_from_half(uint16_t half) {
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  if (exponent == 31) {
    return fraction == 0 ? sign * INFINITY : std::copysign(NAN, sign);
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

template <class T>
T load(const uint8_t* bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

}  // namespace

float read_element(DType dtype, const uint8_t* bytes, int64_t index) {
  switch (dtype) {
    case DType::f32:
      return load<float>(bytes, index);
    case DType::f16:
      return float_from_half(load<uint16_t>(bytes, index));
    case DType::bf16:
      return std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(bytes, index)) << 16);
    case DType::i32:
      return static_cast<float>(load<int32_t>(bytes, index));
  }
  return NAN;  // no such dtype
}

void decode_codes(const Matrix& matrix, int64_t row, uint8_t* out) {
  const int bits = matrix.type.format.bits;
  const int64_t cols = matrix.type.cols();
  const int64_t bytes_per_row = (cols * bits + 7) / 8;
  const uint8_t* stream = matrix.codes.data() + row * bytes_per_row;
  for (int64_t c = 0; c < cols; ++c) {
    int code = 0;
    for (int b = 0; b < bits; ++b) {
      const int64_t position = c * bits + b;
      code |= ((stream[position / 8] >> (position % 8)) & 1) << b;
    }
    out[c] = static_cast<uint8_t>(code);
  }
}

void decode_row(const Matrix& matrix, int64_t row, float* out) {
  const WeightFormat& format = matrix.type.format;
  const int64_t cols = matrix.type.cols();
  if (format.is_dense()) {
    for (int64_t c = 0; c < cols; ++c) {
      out[c] = read_element(format.scale_type, matrix.codes.data(), row * cols + c);
    }
    return;
  }
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  decode_codes(matrix, row, codes.data());
  const int64_t groups_per_row = cols / format.group;
  for (int64_t c = 0; c < cols; ++c) {
    const int64_t group = row * groups_per_row + c / format.group;
    const float scale = read_element(format.scale_type, matrix.scales.data(), group);
    const auto code = static_cast<float>(codes[static_cast<size_t>(c)]);
    if (format.map == CodeMap::affine) {
      out[c] = scale * code + read_element(format.scale_type, matrix.biases.data(), group);
    } else {
      out[c] = scale * (code - static_cast<float>(format.zero_point()));
    }
  }
}

}  // namespace sinter::ir
