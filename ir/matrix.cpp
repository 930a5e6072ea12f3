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
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 31U;
  const uint32_t fraction = half & 1023U;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t biased = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | biased << 23 | fraction << 13);
}

template <class T>
T load(const uint8_t* bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Where row (or element of a vector) `row` is stored.
int64_t stored_row(const Matrix& matrix, int64_t row) {
  const int64_t head = matrix.interleaved_head;
  if (head == 0) return row;
  const int64_t in_head = row % head;
  return row - in_head + 2 * (in_head % (head / 2)) + in_head / (head / 2);
}

int64_t bytes_per_row(const Matrix& matrix) {
  const WeightFormat& format = matrix.type.format;
  const int64_t cols = matrix.type.cols();
  if (matrix.blocks != nullptr) return cols / matrix.blocks->cols * matrix.blocks->bytes;
  if (format.is_dense()) return cols * byte_size(format.scale_type);
  return (cols * format.bits + 7) / 8;
}

const uint8_t* group_number(const Matrix& matrix, int64_t row, int64_t group,
                            absl::Span<const uint8_t> planar, int64_t offset_in_block) {
  const WeightFormat& format = matrix.type.format;
  if (matrix.blocks != nullptr) {
    const int64_t block = group * format.group / matrix.blocks->cols;
    return row_data(matrix, row) + block * matrix.blocks->bytes + offset_in_block;
  }
  const int64_t groups_per_row = matrix.type.cols() / format.group;
  const int64_t index = stored_row(matrix, row) * groups_per_row + group;
  return planar.data() + index * byte_size(format.scale_type);
}

void decode_block(const BlockLayout& layout, const uint8_t* block, uint8_t* out) {
  for (int64_t k = 0; k < layout.cols; ++k) {
    unsigned code = 0;
    int low = 0;
    for (const CodeField& field : layout.fields) {
      if (field.bits == 0) break;
      const int64_t run = field.lanes * (8 / field.bits);  // codes in `lanes` bytes
      const int64_t byte = field.offset + k / run * field.lanes + k % field.lanes;
      const auto shift = static_cast<int>(k % run / field.lanes) * field.bits;
      code |= ((block[byte] >> shift) & ((1U << field.bits) - 1U)) << low;
      low += field.bits;
    }
    out[k] = static_cast<uint8_t>(code ^ layout.flip);
  }
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

const uint8_t* row_data(const Matrix& matrix, int64_t row) {
  return matrix.codes.data() + stored_row(matrix, row) * bytes_per_row(matrix);
}

const uint8_t* scale_bytes(const Matrix& matrix, int64_t row, int64_t group) {
  return group_number(matrix, row, group, matrix.scales,
                      matrix.blocks == nullptr ? 0 : matrix.blocks->scale);
}

const uint8_t* bias_bytes(const Matrix& matrix, int64_t row, int64_t group) {
  return group_number(matrix, row, group, matrix.biases,
                      matrix.blocks == nullptr ? 0 : matrix.blocks->bias);
}

bool is_complete(const Matrix& matrix) {
  const WeightType& type = matrix.type;
  const WeightFormat& format = type.format;
  const int64_t head = matrix.interleaved_head;
  const int64_t permuted = type.shape.size() == 1 ? type.cols() : type.rows();
  if (head < 0 || head % 2 != 0 || (head > 0 && permuted % head != 0)) return false;
  if (matrix.blocks != nullptr &&
      (format.is_dense() || type.shape.size() != 2 || type.cols() % matrix.blocks->cols != 0 ||
       matrix.blocks->cols % format.group != 0)) {
    return false;
  }
  if (static_cast<int64_t>(matrix.codes.size()) < type.rows() * bytes_per_row(matrix)) return false;
  if (format.is_dense() || matrix.blocks != nullptr) return true;
  const int64_t scales = type.rows() * (type.cols() / format.group) * byte_size(format.scale_type);
  return static_cast<int64_t>(matrix.scales.size()) >= scales &&
         (format.map != CodeMap::affine || static_cast<int64_t>(matrix.biases.size()) >= scales);
}

void decode_codes(const Matrix& matrix, int64_t row, uint8_t* out) {
  const int bits = matrix.type.format.bits;
  const int64_t cols = matrix.type.cols();
  const uint8_t* stream = row_data(matrix, row);
  if (matrix.blocks != nullptr) {
    const BlockLayout& blocks = *matrix.blocks;
    for (int64_t b = 0; b < cols / blocks.cols; ++b)
      decode_block(blocks, stream + b * blocks.bytes, out + b * blocks.cols);
    return;
  }
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
    const bool is_vector = matrix.type.shape.size() == 1;
    const uint8_t* elements = is_vector ? matrix.codes.data() : row_data(matrix, row);
    for (int64_t c = 0; c < cols; ++c) {
      out[c] = read_element(format.scale_type, elements, is_vector ? stored_row(matrix, c) : c);
    }
    return;
  }
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  decode_codes(matrix, row, codes.data());
  for (int64_t c = 0; c < cols; ++c) {
    const int64_t group = c / format.group;
    const float scale = read_element(format.scale_type, scale_bytes(matrix, row, group), 0);
    const auto code = static_cast<float>(codes[static_cast<size_t>(c)]);
    if (format.map == CodeMap::affine) {
      out[c] = scale * code + read_element(format.scale_type, bias_bytes(matrix, row, group), 0);
    } else {
      out[c] = scale * (code - static_cast<float>(format.zero_point()));
    }
  }
}

}  // namespace sinter::ir
