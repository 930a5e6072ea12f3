#include "codegen/probe/input.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "codegen/layouts/layout.h"

namespace sinter::codegen {

namespace {

// Integers from 64 to 127 and their opposites: no column counts little. A 127 in each run of 16
// columns, which are in one group whatever the groups are, makes the step of a quantization to 8
// bits 1 and that of one to 16 bits 1/256.
float probe_element(uint64_t col) {
  // The finalizer of SplitMix64.
  uint64_t hash = (col + 1) * 0x9e3779b97f4a7c15;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  hash ^= hash >> 31;
  const auto size = static_cast<float>(col % 16 == 5 ? 127 : 64 + hash % 64);
  return (hash >> 32) % 2 == 0 ? size : -size;
}

// |w| of every column of a row, or where w is a sum, that of its terms: |scale code| + |bias|.
// Kernels round these, and may take what codes stand for as unsigned numbers and a zero point.
std::vector<double> magnitudes(const ir::Matrix& matrix, int64_t row) {
  const ir::WeightFormat& format = matrix.type.format;
  const auto cols = static_cast<size_t>(matrix.type.cols());
  std::vector<double> out(cols);
  if (format.is_dense()) {
    std::vector<float> w(cols);
    ir::decode_row(matrix, row, w.data());
    std::transform(w.begin(), w.end(), out.begin(), [](float x) { return std::abs(double{x}); });
    return out;
  }
  const size_t group = format.group > 0 ? static_cast<size_t>(format.group) : cols;
  const double zero = format.unsigned_zero_point();
  std::vector<uint8_t> codes(cols);
  std::vector<float> scales(cols / group);
  std::vector<float> offsets(cols / group);
  ir::decode_codes(matrix, row, codes.data());
  ir::decode_scales(matrix, row, scales.data(), offsets.data());
  for (size_t c = 0; c < cols; ++c) {
    const double level = ir::level_of(format, codes[c]);
    out[c] = std::abs(double{matrix.tensor_scale}) *
             (std::abs(double{scales[c / group]}) * (std::abs(level) + 2 * zero) +
              std::abs(double{offsets[c / group]}));
  }
  return out;
}

// Operations in float32 that round a product of a column on its way into the result, at most. Those
// of a sum over the columns, one after another, or over the groups, whose sums are exact integers;
// and beside them: the scale of x (2), that of w (3) and its factor (1), the product with both and
// the integer's conversion (3), sums over lanes and waves (10), and the decoder's own number (3).
double roundings(const ir::WeightType& type) {
  const bool floats = type.format.is_dense() || type.format.map == ir::CodeMap::fp8;
  const ir::WeightType in_kernels = kernel_type(type);
  const int64_t group = dot_group(in_kernels);
  const int64_t groups = group == 0 ? 0 : in_kernels.cols() / group;
  return static_cast<double>(floats ? type.cols() + groups : groups) + 22;
}

ProbeResult multiply_row(const ir::Matrix& matrix, int64_t row, const std::vector<float>& x,
                         double terms) {
  constexpr double kRounding = 0x1p-24;  // half a unit in the last place of 1.0F
  std::vector<float> w(static_cast<size_t>(matrix.type.cols()));
  ir::decode_row(matrix, row, w.data());
  const std::vector<double> magnitude = magnitudes(matrix, row);
  ProbeResult result;
  double added = 0;
  double inputs = 0;
  for (size_t c = 0; c < w.size(); ++c) {
    result.value += double{w[c]} * double{x[c]};
    added += magnitude[c] * std::abs(double{x[c]});
    inputs += std::abs(double{x[c]});
  }
  // Numbers too small for float32 may become 0.
  result.tolerance =
      1.01 * terms * kRounding * added + inputs * double{std::numeric_limits<float>::min()};
  // Beyond this a kernel may overflow on its way: it sums integers before it scales them.
  if (!(added < double{std::numeric_limits<float>::max()} / 1024))
    result.value = std::numeric_limits<double>::infinity();
  return result;
}

}  // namespace

ir::ValueId add_probe_input(ir::Module& module) {
  int64_t cols = 1;
  for (const auto& [id, data] : module.weights)
    if (module.weight(id).shape.size() > 1) cols = std::max(cols, module.weight(id).cols());
  std::vector<float> x(static_cast<size_t>(cols));
  for (size_t c = 0; c < x.size(); ++c) x[c] = probe_element(c);
  return module.add_weight("probe.input", {{cols}, {}}, {.sources = {}, .constant = std::move(x)});
}

absl::StatusOr<std::optional<ProbeResult>> probe_result(const ir::Module& module,
                                                        ir::ValueId weight, int64_t rows,
                                                        ir::ValueId input,
                                                        const ir::MatrixSource& source) {
  const std::vector<float>& x = module.weights.at(input).constant;
  const double terms = roundings(module.weight(weight));
  // Beyond the first tile, if there are more: with wrong strides it would still be right.
  const int64_t first = rows > kTileRows ? kTileRows : 0;
  std::optional<ProbeResult> best;
  int64_t start = 0;  // row of the weight at which the source begins
  for (const std::string& name : module.weights.at(weight).sources) {
    const auto matrix = source.matrix(name);
    if (!matrix.ok()) return matrix.status();
    const int64_t end = std::min(rows, start + matrix->type.rows());
    for (int64_t row = std::max(start, first); row < end; ++row) {
      ProbeResult result = multiply_row(*matrix, row - start, x, terms);
      result.row = row;
      if (!std::isfinite(result.value)) continue;
      if (!best ||
          std::abs(result.value) * best->tolerance > std::abs(best->value) * result.tolerance)
        best = result;
    }
    start += matrix->type.rows();
  }
  return best;
}

}  // namespace sinter::codegen
