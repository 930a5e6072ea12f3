#include "ir/type.h"

#include <fmt/format.h>

namespace sinter::ir {

namespace {

// Scales, or scales and biases, that one group of columns stores.
int64_t numbers_per_group(CodeMap map) { return map == CodeMap::affine ? 2 : 1; }

const char* name(CodeMap map) {
  switch (map) {
    case CodeMap::dense:
      return "dense";
    case CodeMap::affine:
      return "affine";
    case CodeMap::symmetric:
      return "symmetric";
    case CodeMap::ternary:
      return "ternary";
  }
  return "?";
}

}  // namespace

int byte_size(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
  }
  return 0;
}

const char* name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
  }
  return "?";
}

double WeightFormat::bits_per_weight() const {
  const double number_bits = 8.0 * byte_size(scale_type);
  if (is_dense()) return number_bits;
  if (group <= 0) return bits;
  return bits + static_cast<double>(numbers_per_group(map)) * number_bits / group;
}

int64_t WeightType::packed_bytes() const {
  if (format.is_dense()) return elements() * byte_size(format.scale_type);
  const int64_t code_bytes = (cols() * format.bits + 7) / 8;
  const int64_t groups = format.group > 0 ? cols() / format.group : 0;
  const int64_t scale_bytes =
      groups * numbers_per_group(format.map) * static_cast<int64_t>(byte_size(format.scale_type));
  return rows() * (code_bytes + scale_bytes);
}

std::string to_string(const TensorType& type) {
  std::string text = "tensor<";
  for (const Dim& dim : type.shape) {
    if (dim.is_symbol()) {
      text += dim.symbol;
    } else {
      text += fmt::format("{}", dim.value);
    }
    text += 'x';
  }
  return text + name(type.dtype) + ">";
}

std::string to_string(const WeightFormat& format) {
  if (format.is_dense()) return name(format.scale_type);
  std::string text = fmt::format("{} b{}", name(format.map), format.bits);
  if (format.map == CodeMap::symmetric) text += fmt::format(" z{}", format.zero);
  return text + fmt::format(" g{} {}", format.group, name(format.scale_type));
}

std::string to_string(const WeightType& type) {
  std::string text = "weight<";
  for (size_t i = 0; i < type.shape.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : "x", type.shape[i]);
  }
  return text + ", " + to_string(type.format) + ">";
}

std::string to_string(const Type& type) {
  return std::visit([](const auto& t) { return to_string(t); }, type);
}

}  // namespace sinter::ir
