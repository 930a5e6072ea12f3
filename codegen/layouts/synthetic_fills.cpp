#include "codegen/layouts/synthetic_fills.h"

#include <cmath>

namespace sinter::codegen {

using runtime::Fill;

std::vector<Fill> synthetic_fills(const std::string& name, const ir::WeightType& type,
                                  const PackedLayout& layout, int64_t offset) {
  const ir::WeightFormat& format = type.format;
  const std::string dtype = ir::name(format.scale_type);
  const auto fill = [&](Fill::Kind kind, int64_t at, int64_t bytes) {
    Fill f;
    f.kind = kind;
    f.offset = static_cast<uint64_t>(offset + at);
    f.bytes = static_cast<uint64_t>(bytes);
    return f;
  };
  const auto uniform = [&](int64_t at, int64_t bytes, const std::string& element, double low,
                           double high) {
    Fill f = fill(Fill::Kind::uniform, at, bytes);
    f.dtype = element;
    f.low = low;
    f.high = high;
    return f;
  };
  if (type.shape.size() == 1) {
    // What decays by -e^A_log must not grow.
    if (name.find("A_log") != std::string::npos)
      return {uniform(0, layout.codes.bytes, dtype, -1, -0.01)};
    const bool norm = name.find("norm") != std::string::npos;
    return {uniform(0, layout.codes.bytes, dtype, norm ? 0.9 : -0.1, norm ? 1.1 : 0.1)};
  }
  // Outputs of a row of `cols` independent products have about the size of the inputs.
  const double deviation = 1.0 / std::sqrt(static_cast<double>(type.cols()));
  if (format.is_dense()) {
    const double top = deviation * std::sqrt(3.0);
    return {uniform(0, layout.codes.bytes, dtype, -top, top)};
  }
  if (format.map == ir::CodeMap::fp8) {
    // Not all bytes are numbers, so codes are drawn as numbers; 2 / sqrt(3) is their deviation.
    const double scale = deviation * std::sqrt(3.0) / 2;
    return {uniform(0, layout.codes.bytes, "e4m3", -2, 2),
            uniform(layout.scales.at, layout.scales.bytes, dtype, 0.8 * scale, 1.2 * scale)};
  }
  // The spread of what codes stand for, all being as likely; zero points change nothing about it.
  const bool ternary = format.map == ir::CodeMap::ternary;
  double sum = 0;
  double squares = 0;
  const int codes = ternary ? 3 : 1 << format.bits;
  for (int code = 0; code < codes; ++code) {
    const double level = ir::level_of(format, static_cast<uint8_t>(code)) + format.zero_point();
    sum += level;
    squares += level * level;
  }
  const double mean = sum / codes;
  const double scale = deviation / std::sqrt(squares / codes - mean * mean);
  std::vector<Fill> fills = {fill(ternary && !format.base3 ? Fill::Kind::ternary : Fill::Kind::bits,
                                  0, layout.codes.bytes)};
  if (layout.scales.bytes > 0)
    fills.push_back(
        uniform(layout.scales.at, layout.scales.bytes, dtype, 0.8 * scale, 1.2 * scale));
  if (layout.biases.bytes > 0) {
    Fill biases = fill(Fill::Kind::paired, layout.biases.at, layout.biases.bytes);
    biases.dtype = dtype;
    biases.factor = mean;
    fills.push_back(biases);
  }
  // The rows at which matrices begin stay zero: all rows take the last factor.
  if (layout.factors.bytes > 0)
    fills.push_back(
        uniform(layout.factors.at, layout.factors.bytes / 2, "f32", scale, 1.001 * scale));
  return fills;
}

}  // namespace sinter::codegen
