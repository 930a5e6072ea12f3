#include "frontends/quantize/mlx_form.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "frontends/error_text.h"
#include "frontends/rounding/quantizers.h"
#include "frontends/rounding/rules.h"

namespace sinter::frontends {
namespace {

using ir::CodeMap;
using ir::DType;

bool is_exact(DType dtype, double value) {
  std::array<uint8_t, 4> bytes;
  return write_element(dtype, static_cast<float>(value), bytes.data(), 0) &&
         static_cast<double>(ir::read_element(dtype, bytes.data(), 0)) == value;
}

bool is_float(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f32;
}

// w = scale * code + bias with one of each per group, whatever it was before.
std::optional<ir::WeightFormat> affine_format(const ir::Matrix& matrix) {
  const ir::WeightFormat& from = matrix.type.format;
  ir::WeightFormat to;
  to.map = CodeMap::affine;
  to.bits = from.bits;
  to.scale_type = from.scale_type;
  if (from.bits == 7 || from.block > 0 || (from.tensor_scale && from.group > 0))
    return std::nullopt;
  if (from.group == 0) {
    const bool in_half = is_exact(DType::bf16, matrix.tensor_scale);
    to.scale_type = in_half ? DType::bf16 : DType::f32;
  }
  if (!is_float(to.scale_type)) return std::nullopt;
  const int64_t shared = from.group == 0 ? matrix.type.cols() : from.group;
  for (const int group : {128, 64, 32}) {
    if (shared % group != 0 || matrix.type.cols() % group != 0) continue;
    to.group = group;
    return to;
  }
  return std::nullopt;
}

// A row's scales and biases as affine has them; both are exact in float64.
struct Numbers {
  double scale;
  double bias;
};

Numbers affine_numbers(const ir::Matrix& matrix, float scale, float offset) {
  const ir::WeightFormat& from = matrix.type.format;
  const double whole = matrix.tensor_scale;
  if (from.map == CodeMap::sign) return {2.0 * scale * whole, -1.0 * scale * whole};
  const bool has_zero = from.map == CodeMap::symmetric || from.map == CodeMap::ternary;
  const double zero = has_zero ? from.zero_point() * scale : 0;
  return {scale * whole, (offset - zero) * whole};
}

}  // namespace

std::optional<ir::WeightFormat> mlx_format(const ir::Matrix& matrix) {
  const ir::WeightFormat& from = matrix.type.format;
  const bool plain = from.block == 0 && !from.tensor_scale;
  switch (from.map) {
    case CodeMap::affine:
    case CodeMap::symmetric:
    case CodeMap::ternary:
    case CodeMap::shifted:
    case CodeMap::sign:
      return affine_format(matrix);
    case CodeMap::fp4:
      if (plain && ((from.group == 32 && from.scale_type == DType::e8m0) ||
                    (from.group == 16 && from.scale_type == DType::e4m3)))
        return from;
      return std::nullopt;
    case CodeMap::fp8:
      if (plain && from.group == 32 && from.scale_type == DType::e8m0) return from;
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::string_view mlx_mode(const ir::WeightFormat& format) {
  if (format.map == CodeMap::fp4) return format.group == 16 ? "nvfp4" : "mxfp4";
  return format.map == CodeMap::fp8 ? "mxfp8" : "affine";
}

absl::StatusOr<QuantizedMatrix> to_mlx_form(std::string_view name, const ir::Matrix& matrix) {
  const std::optional<ir::WeightFormat> format = mlx_format(matrix);
  if (!format)
    return invalid("tensor {} is {}, which no format of MLX can hold", in_quotes(name),
                   ir::to_string(matrix.type));
  const int64_t rows = matrix.type.rows();
  const int64_t cols = matrix.type.cols();
  const int64_t groups = cols / format->group;
  const int64_t source_group = matrix.type.format.group > 0 ? matrix.type.format.group : cols;
  const int64_t number = ir::byte_size(format->scale_type);
  QuantizedMatrix out;
  out.type = {matrix.type.shape, *format};
  out.codes.resize(static_cast<size_t>(rows * cols * format->bits / 8));
  out.scales.resize(static_cast<size_t>(rows * groups * number));
  if (format->has_biases()) out.biases.resize(out.scales.size());
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  std::vector<float> scales(static_cast<size_t>(cols / source_group));
  std::vector<float> offsets(scales.size());
  for (int64_t row = 0; row < rows; ++row) {
    ir::decode_codes(matrix, row, codes.data());
    pack_codes(codes, format->bits, out.codes.data() + row * cols * format->bits / 8);
    ir::decode_scales(matrix, row, scales.data(), offsets.data());
    for (int64_t g = 0; g < groups; ++g) {
      const auto source = static_cast<size_t>(g * format->group / source_group);
      const int64_t at = row * groups + g;
      if (!format->has_biases()) {
        out.scales[static_cast<size_t>(at)] =
            *ir::scale_bytes(matrix, row, static_cast<int64_t>(source));
        continue;
      }
      const auto [scale, bias] = affine_numbers(matrix, scales[source], offsets[source]);
      for (const double value : {scale, bias})
        if (!is_exact(format->scale_type, value))
          return invalid("tensor {}: the {} {} of row {}, group {} has no exact {} form; {}",
                         in_quotes(name), value == scale ? "scale" : "bias", value, row, g,
                         ir::name(format->scale_type), quantize_again(name));
      write_element(format->scale_type, static_cast<float>(scale), out.scales.data(), at);
      write_element(format->scale_type, static_cast<float>(bias), out.biases.data(), at);
    }
  }
  return out;
}

std::string tensor_name(const Checkpoint& checkpoint, const std::string& key) {
  return checkpoint.plain_tensors.contains(key) ? key : key + ".weight";
}

std::string_view safetensors_dtype(ir::DType dtype) {
  switch (dtype) {
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::e8m0:
    case DType::e4m3:
      return "U8";
    default:
      return "F32";
  }
}

}  // namespace sinter::frontends
