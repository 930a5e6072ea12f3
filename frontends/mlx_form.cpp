#include "frontends/mlx_form.h"

#include <algorithm>
#include <cstring>

#include "frontends/error_text.h"
#include "frontends/quantizers.h"

namespace sinter::frontends {

std::optional<ir::WeightFormat> mlx_format(const ir::WeightType& type) {
  const ir::WeightFormat& from = type.format;
  if (from.is_dense() || from.bits == 7 || type.cols() % 32 != 0) return std::nullopt;
  ir::WeightFormat to;
  to.map = ir::CodeMap::affine;
  to.bits = from.bits;
  to.scale_type = from.scale_type;
  for (const int group : {128, 64, 32}) {
    if (from.group % group != 0) continue;
    to.group = group;
    return to;
  }
  return std::nullopt;
}

absl::StatusOr<QuantizedMatrix> to_mlx_form(std::string_view name, const ir::Matrix& matrix) {
  const std::optional<ir::WeightFormat> format = mlx_format(matrix.type);
  if (!format)
    return invalid("tensor {} is {}, which no format of MLX can hold", in_quotes(name),
                   ir::to_string(matrix.type));
  const ir::WeightFormat& from = matrix.type.format;
  const int64_t rows = matrix.type.rows();
  const int64_t cols = matrix.type.cols();
  const int64_t groups = cols / format->group;
  const int64_t number = ir::byte_size(format->scale_type);
  QuantizedMatrix out;
  out.type = {matrix.type.shape, *format};
  out.codes.resize(static_cast<size_t>(rows * cols * format->bits / 8));
  out.scales.resize(static_cast<size_t>(rows * groups * number));
  out.biases.resize(out.scales.size());
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  for (int64_t row = 0; row < rows; ++row) {
    ir::decode_codes(matrix, row, codes.data());
    pack_codes(codes, format->bits, out.codes.data() + row * cols * format->bits / 8);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t source_group = g * format->group / from.group;
      const int64_t at = row * groups + g;
      const uint8_t* scale = ir::scale_bytes(matrix, row, source_group);
      std::memcpy(out.scales.data() + at * number, scale, static_cast<size_t>(number));
      if (from.map == ir::CodeMap::affine) {
        std::memcpy(out.biases.data() + at * number, ir::bias_bytes(matrix, row, source_group),
                    static_cast<size_t>(number));
        continue;
      }
      const float bias =
          -static_cast<float>(from.zero_point()) * ir::read_element(from.scale_type, scale, 0);
      write_element(format->scale_type, bias, out.biases.data(), at);
      if (ir::read_element(format->scale_type, out.biases.data(), at) != bias)
        return invalid("tensor {}: the bias {} of row {}, group {} has no exact {} form",
                       in_quotes(name), bias, row, g, ir::name(format->scale_type));
    }
  }
  return out;
}

std::string tensor_name(const Checkpoint& checkpoint, const std::string& key) {
  return checkpoint.plain_tensors.contains(key) ? key : key + ".weight";
}

std::string_view safetensors_dtype(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::f16:
      return "F16";
    case ir::DType::bf16:
      return "BF16";
    default:
      return "F32";
  }
}

}  // namespace sinter::frontends
