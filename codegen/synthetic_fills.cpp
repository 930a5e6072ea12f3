#include "codegen/synthetic_fills.h"

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
    const bool norm = name.find("norm") != std::string::npos;
    return {uniform(0, layout.codes_bytes, "f32", norm ? 0.9 : -0.1, norm ? 1.1 : 0.1)};
  }
  // Outputs of a row of `cols` independent products have about the size of the inputs.
  const double deviation = 1.0 / std::sqrt(static_cast<double>(type.cols()));
  if (format.is_dense()) {
    const double top = deviation * std::sqrt(3.0);
    return {uniform(0, layout.codes_bytes, dtype, -top, top)};
  }
  const bool ternary = format.map == ir::CodeMap::ternary;
  const double levels = ternary ? 3 : std::exp2(format.bits);
  const double code_deviation = std::sqrt((levels * levels - 1) / 12);
  const double scale = deviation / code_deviation;
  std::vector<Fill> fills = {
      fill(ternary ? Fill::Kind::ternary : Fill::Kind::bits, 0, layout.codes_bytes),
      uniform(layout.scales, layout.scales_bytes, dtype, 0.8 * scale, 1.2 * scale)};
  if (format.map == ir::CodeMap::affine) {
    Fill biases = fill(Fill::Kind::paired, layout.biases, layout.biases_bytes);
    biases.dtype = dtype;
    biases.factor = (levels - 1) / 2;
    fills.push_back(biases);
  }
  return fills;
}

}  // namespace sinter::codegen
