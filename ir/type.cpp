#include "ir/type.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sinter::ir {

int byte_size(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::e8m0:
    case DType::e4m3:
      return 1;
    case DType::q8:
    case DType::q4:
      break;
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
    case DType::e8m0:
      return "e8m0";
    case DType::e4m3:
      return "e4m3";
    case DType::q8:
      return "q8";
    case DType::q4:
      return "q4";
  }
  return "?";
}

double WeightFormat::unsigned_zero_point() const {
  const CodeMapInfo& row = info(map);
  if (row.levels.empty()) return zero_point();
  return -double{row.unit} * *std::ranges::min_element(row.levels);
}

// 256 codes in base 3 are 52 bytes: 48 of five codes and 4 of four.
double WeightFormat::bits_per_code() const { return base3 ? 52.0 * 8 / 256 : bits; }

double WeightFormat::bits_per_weight() const {
  const double number_bits = 8.0 * byte_size(scale_type);
  if (is_dense()) return number_bits;
  double all = bits_per_code();
  const double numbers = has_biases() ? 2 : 1;
  if (scale_cols() > 0) all += numbers * number_bits / scale_cols();
  if (block > 0) all += numbers * sub_bits / group;
  if (map == CodeMap::shifted) all += static_cast<double>(bits) / group;
  return all;
}

int64_t WeightType::rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

int64_t WeightType::packed_bytes() const {
  if (format.is_dense()) return elements() * byte_size(format.scale_type);
  const double row_bits = format.bits_per_weight() * static_cast<double>(cols());
  return rows() * static_cast<int64_t>(std::ceil(row_bits / 8));
}

std::string to_string(const Dim& dim) {
  return dim.is_symbol() ? std::string(1, dim.symbol) : fmt::format("{}", dim.value);
}

std::string to_string(const TensorType& type) {
  std::string text = "tensor<";
  for (const Dim& dim : type.shape) text += to_string(dim) + 'x';
  return text + name(type.dtype) + ">";
}

std::string to_string(const WeightFormat& format) {
  if (format.is_dense()) return name(format.scale_type);
  std::string text(info(format.map).name);
  if (format.base3) {
    text += " base3";
  } else if (info(format.map).bits == 0) {
    text += fmt::format(" b{}", format.bits);
  }
  if (format.map == CodeMap::symmetric) text += fmt::format(" z{}", format.zero);
  if (format.group > 0) {
    text += fmt::format(" g{}", format.group);
    if (format.block > 0) {
      text += fmt::format(" s{}", format.sub_bits);
      if (format.sub_zero > 0) text += fmt::format(" o{}", format.sub_zero);
      text += fmt::format(" in{}", format.block);
    }
    text += fmt::format(" {}", name(format.scale_type));
  }
  return format.tensor_scale ? text + " tensor" : text;
}

std::string to_string(const WeightType& type) {
  std::string text = "weight<";
  for (size_t i = 0; i < type.shape.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : "x", type.shape[i]);
  }
  text += ", " + to_string(type.format);
  return text + (type.rotated > 0 ? fmt::format(", rotated {}>", type.rotated) : ">");
}

std::string to_string(const StateType& type) {
  std::string text = "state<";
  for (size_t i = 0; i < type.numbers.shape.size(); ++i) {
    text += (i == 0 ? "" : "x") + to_string(type.numbers.shape[i]);
  }
  return fmt::format("{}, {} {}>", text, info(type.kind).name, name(type.numbers.dtype));
}

std::string to_string(const Type& type) {
  return std::visit([](const auto& t) { return to_string(t); }, type);
}

}  // namespace sinter::ir
