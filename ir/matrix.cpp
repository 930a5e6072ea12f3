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

// OCP Microscaling's E8M0; 255 stands for NaN.
float float_from_e8m0(uint8_t byte) { return byte == 255 ? NAN : std::ldexp(1.0F, byte - 127); }

// E4M3 without infinities: 1 sign bit, 4 exponent bits (bias 7), 3 fraction bits; all ones is NaN.
float float_from_e4m3(uint8_t byte) {
  const float sign = (byte & 0x80) != 0 ? -1.0F : 1.0F;
  const int exponent = (byte >> 3) & 15;
  const int fraction = byte & 7;
  if ((byte & 127) == 127) return NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -9);
  return sign * std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
}

template <class T>
T load(const uint8_t* bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Where row (or element of a vector) `row` is stored.
int64_t stored_row(const Matrix& matrix, int64_t row) {
  return matrix.places.in_order() ? row : matrix.places.stored(row);
}

// Which of the stored elements of a dense matrix, or vector, is in that row and column.
int64_t element_at(const Matrix& matrix, int64_t row, int64_t col) {
  if (matrix.type.shape.size() == 1) return stored_row(matrix, col);
  const int64_t cols = matrix.type.cols();
  const int64_t at = stored_row(matrix, row);
  const int64_t transposed = matrix.places.transposed;
  if (transposed == 0) return at * cols + col;
  return (at / transposed * cols + col) * transposed + at % transposed;
}

int64_t bytes_per_row(const Matrix& matrix) {
  const WeightFormat& format = matrix.type.format;
  const int64_t cols = matrix.type.cols();
  if (matrix.blocks != nullptr) return cols / matrix.blocks->cols * matrix.blocks->bytes;
  if (format.is_dense()) return cols * byte_size(format.scale_type);
  return (cols * format.bits + 7) / 8;
}

const uint8_t* scale_or_bias(const Matrix& matrix, int64_t row, int64_t index,
                             absl::Span<const uint8_t> planar, int64_t offset_in_block) {
  const WeightFormat& format = matrix.type.format;
  if (matrix.blocks != nullptr) {
    const int64_t block = index * format.scale_cols() / matrix.blocks->cols;
    return row_data(matrix, row) + block * matrix.blocks->bytes + offset_in_block;
  }
  const int64_t per_row = matrix.type.cols() / format.scale_cols();
  return planar.data() + (stored_row(matrix, row) * per_row + index) * byte_size(format.scale_type);
}

void decode_block(const BlockLayout& layout, const uint8_t* block, uint8_t* out) {
  if (layout.codes != nullptr) return layout.codes(block, out);
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

int64_t RowPlaces::stored(int64_t row) const {
  if (row < kept) return row;
  row -= kept;
  const int64_t in_unit = row % unit;
  const int64_t b = row / unit % inner;
  const int64_t a = row / (unit * inner) % outer;
  const int64_t table = row / (unit * inner * outer);
  const int64_t at = kept + ((table * inner + b) * outer + a) * unit + in_unit;
  return run == 0 ? at : at / run * stored_run + first + at % run * step;
}

std::optional<int64_t> RowPlaces::stored_rows(int64_t rows) const {
  if (outer < 1 || inner < 1 || unit < 1 || kept < 0 || rows <= kept ||
      (rows - kept) % (outer * inner * unit) != 0)
    return {};
  int64_t stored = rows;
  if (run != 0) {
    const int64_t span = (run - 1) * step + 1;  // of a run
    if (run < 0 || step < 1 || first < 0 || rows % run != 0 || first + span > stored_run) return {};
    stored = (rows / run - 1) * stored_run + first + span;
  }
  if (transposed < 0) return {};
  // A matrix that is stored transposed is needed whole.
  return transposed == 0 ? stored : (stored + transposed - 1) / transposed * transposed;
}

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
    case DType::e8m0:
      return float_from_e8m0(bytes[index]);
    case DType::e4m3:
      return float_from_e4m3(bytes[index]);
    case DType::q8:
    case DType::q4:
      break;  // of states, which have no bytes here
  }
  return NAN;  // no such dtype
}

const uint8_t* row_data(const Matrix& matrix, int64_t row) {
  return matrix.codes.data() + stored_row(matrix, row) * bytes_per_row(matrix);
}

const uint8_t* scale_bytes(const Matrix& matrix, int64_t row, int64_t index) {
  if (matrix.order != nullptr && matrix.order->scale != nullptr)
    return matrix.order->scale(matrix, row, index);
  return scale_or_bias(matrix, row, index, matrix.scales,
                       matrix.blocks == nullptr ? 0 : matrix.blocks->scale);
}

const uint8_t* bias_bytes(const Matrix& matrix, int64_t row, int64_t index) {
  return scale_or_bias(matrix, row, index, matrix.biases,
                       matrix.blocks == nullptr ? 0 : matrix.blocks->bias);
}

void decode_sub_scales(const Matrix& matrix, int64_t row, uint8_t* out) {
  if (matrix.blocks == nullptr) return;  // no planar form has them
  const BlockLayout& blocks = *matrix.blocks;
  const int64_t groups = blocks.cols / matrix.type.format.group;
  for (int64_t b = 0; b < matrix.type.cols() / blocks.cols; ++b)
    blocks.sub_scales(row_data(matrix, row) + b * blocks.bytes, out + b * groups);
}

void decode_sub_biases(const Matrix& matrix, int64_t row, uint8_t* out) {
  const int64_t row_groups = matrix.type.cols() / matrix.type.format.group;
  if (matrix.order != nullptr && matrix.order->shifts != nullptr) {
    matrix.order->shifts(matrix, row, out);
  } else if (matrix.blocks != nullptr) {
    const BlockLayout& blocks = *matrix.blocks;
    const int64_t groups = blocks.cols / matrix.type.format.group;
    for (int64_t b = 0; b < matrix.type.cols() / blocks.cols; ++b)
      blocks.sub_biases(row_data(matrix, row) + b * blocks.bytes, out + b * groups);
  } else {
    std::memcpy(out, matrix.biases.data() + stored_row(matrix, row) * row_groups,
                static_cast<size_t>(row_groups));
  }
}

bool is_complete(const Matrix& matrix) {
  const WeightType& type = matrix.type;
  const WeightFormat& format = type.format;
  const bool is_vector = type.shape.size() == 1;
  const auto placed = matrix.places.stored_rows(is_vector ? type.cols() : type.rows());
  if (!placed || (matrix.places.transposed != 0 && (!format.is_dense() || is_vector))) return false;
  if (matrix.order != nullptr && matrix.blocks == nullptr) return true;
  if (const BlockLayout* blocks = matrix.blocks; blocks != nullptr) {
    const int64_t scale_cols = format.scale_cols();
    if (format.is_dense() || type.shape.size() < 2 || type.cols() % blocks->cols != 0 ||
        scale_cols == 0 || blocks->cols % format.group != 0 || blocks->cols % scale_cols != 0 ||
        (format.block > 0 && blocks->sub_scales == nullptr)) {
      return false;
    }
  } else if (format.block > 0 || format.base3) {
    return false;
  }
  const int64_t stored = is_vector ? 1 : *placed;
  const int64_t bytes = is_vector && format.is_dense() ? *placed * byte_size(format.scale_type)
                                                       : stored * bytes_per_row(matrix);
  if (static_cast<int64_t>(matrix.codes.size()) < bytes) return false;
  if (format.is_dense() || matrix.blocks != nullptr || format.group == 0) return true;
  const int64_t groups = stored * (type.cols() / format.group);
  const int64_t scales = groups * byte_size(format.scale_type);
  const auto biases = static_cast<int64_t>(matrix.biases.size());
  return static_cast<int64_t>(matrix.scales.size()) >= scales &&
         (!format.has_biases() || biases >= scales) &&
         (format.map != CodeMap::shifted || biases >= groups);
}

void decode_codes(const Matrix& matrix, int64_t row, uint8_t* out) {
  const int bits = matrix.type.format.bits;
  const int64_t cols = matrix.type.cols();
  if (matrix.order != nullptr && matrix.order->codes != nullptr)
    return matrix.order->codes(matrix, row, out);
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

void copy_row(const Matrix& matrix, int64_t row, uint8_t* out) {
  const auto size = static_cast<size_t>(byte_size(matrix.type.format.scale_type));
  for (int64_t c = 0; c < matrix.type.cols(); ++c)
    std::memcpy(out + static_cast<size_t>(c) * size,
                matrix.codes.data() + static_cast<size_t>(element_at(matrix, row, c)) * size, size);
}

void decode_row(const Matrix& matrix, int64_t row, float* out) {
  const WeightFormat& format = matrix.type.format;
  const int64_t cols = matrix.type.cols();
  if (format.is_dense()) {
    for (int64_t c = 0; c < cols; ++c)
      out[c] = read_element(format.scale_type, matrix.codes.data(), element_at(matrix, row, c));
    return;
  }
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  decode_codes(matrix, row, codes.data());
  const int64_t group = format.group > 0 ? format.group : cols;
  std::vector<float> scales(static_cast<size_t>(cols / group));
  std::vector<float> offsets(scales.size());
  decode_scales(matrix, row, scales.data(), offsets.data());
  for (int64_t c = 0; c < cols; ++c) {
    const auto g = static_cast<size_t>(c / group);
    out[c] = matrix.tensor_scale *
             (scales[g] * level_of(format, codes[static_cast<size_t>(c)]) + offsets[g]);
  }
}

float level_of(const WeightFormat& format, uint8_t code) {
  const CodeMapInfo& row = info(format.map);
  if (!row.levels.empty()) return row.unit * row.levels[code & (row.levels.size() - 1)];
  switch (format.map) {
    case CodeMap::affine:
    case CodeMap::shifted:
      return code;
    case CodeMap::fp8:
      return float_from_e4m3(code);
    default:
      return static_cast<float>(code) - static_cast<float>(format.zero_point());
  }
}

void decode_scales(const Matrix& matrix, int64_t row, float* scales, float* offsets) {
  const WeightFormat& format = matrix.type.format;
  const int64_t groups = format.group > 0 ? matrix.type.cols() / format.group : 1;
  const bool shifted = format.map == CodeMap::shifted;
  std::vector<uint8_t> sub_scales(static_cast<size_t>(groups));
  std::vector<uint8_t> sub_biases(static_cast<size_t>(groups));
  if (format.block > 0) decode_sub_scales(matrix, row, sub_scales.data());
  if (shifted || (format.block > 0 && format.has_biases()))
    decode_sub_biases(matrix, row, sub_biases.data());
  for (int64_t g = 0; g < groups; ++g) {
    const auto at = static_cast<size_t>(g);
    scales[g] = 1;
    offsets[g] = 0;
    if (format.group > 0) {
      const int64_t index = g * format.group / format.scale_cols();
      scales[g] = read_element(format.scale_type, scale_bytes(matrix, row, index), 0);
      if (format.has_biases())
        offsets[g] = read_element(format.scale_type, bias_bytes(matrix, row, index), 0);
    }
    if (format.block > 0) {
      scales[g] *= static_cast<float>(sub_scales[at] - format.sub_zero);
      offsets[g] *= -static_cast<float>(sub_biases[at]);
    }
    if (shifted) offsets[g] = -scales[g] * static_cast<float>(sub_biases[at]);
  }
}

}  // namespace sinter::ir
