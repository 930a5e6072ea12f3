#include "passes/prove_weight_structure.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <vector>

namespace sinter::passes {

namespace {

using ir::CodeMap;
using ir::Matrix;

// The zero point z with bias == -z * scale for every group, if there is one that is a multiple of
// 1/2 within the codes.
std::optional<double> constant_zero(const Matrix& m) {
  const int64_t groups = m.type.cols() / m.type.format.group;
  const ir::DType number = m.type.format.scale_type;
  std::optional<double> zero;
  for (int64_t i = 0; i < m.type.rows() * groups; ++i) {
    const double scale = ir::read_element(number, ir::scale_bytes(m, i / groups, i % groups), 0);
    const double bias = ir::read_element(number, ir::bias_bytes(m, i / groups, i % groups), 0);
    if (scale == 0) {
      if (bias != 0) return std::nullopt;
      continue;
    }
    if (!zero.has_value()) {
      const double z = -bias / scale;
      const double top = (1 << m.type.format.bits) - 1;
      if (z != std::floor(2 * z) / 2 || z < 0 || z > top) return std::nullopt;
      zero = z == 0 ? 0 : z;  // never -0, which would print as such
    }
    if (bias != -*zero * scale) return std::nullopt;
  }
  return zero;
}

bool codes_below_three(const Matrix& m) {
  std::vector<uint8_t> codes(static_cast<size_t>(m.type.cols()));
  for (int64_t row = 0; row < m.type.rows(); ++row) {
    ir::decode_codes(m, row, codes.data());
    for (const uint8_t code : codes)
      if (code > 2) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<ir::Module> prove_weight_structure(ir::Module module, PassContext& context) {
  constexpr const char* kName = "prove_weight_structure";
  for (auto& [id, data] : module.weights) {
    ir::Value& value = module.values[static_cast<size_t>(id)];
    auto& type = std::get<ir::WeightType>(value.type);
    // Formats of two levels store minima of their own; there is nothing to drop.
    if (type.format.map != CodeMap::affine || type.format.block > 0) continue;
    if (context.source == nullptr) {
      context.remarks.push_back(
          {kName, false, value.name, "no checkpoint to look at: stays affine"});
      continue;
    }
    if (data.sources.size() != 1) {
      context.remarks.push_back(
          {kName, false, value.name, "several sources: run this pass before fuse_projections"});
      continue;
    }
    auto matrix = context.source->matrix(data.sources[0]);
    if (!matrix.ok()) return matrix.status();
    if (matrix->type.shape != type.shape || !(matrix->type.format == type.format))
      return absl::InvalidArgumentError(
          fmt::format("\"{}\" is {} in the checkpoint, but {} in the graph; the two do not belong "
                      "together",
                      data.sources[0], ir::to_string(matrix->type), ir::to_string(type)));
    const std::optional<double> zero = constant_zero(*matrix);
    const bool below_three = zero == 1.0 && type.format.bits == 2 && codes_below_three(*matrix);
    context.source->release(data.sources[0]);
    if (!zero.has_value()) {
      context.remarks.push_back(
          {kName, false, value.name,
           "bias is not one constant multiple of scale in every group: stays affine"});
      continue;
    }
    const int64_t affine_bytes = type.packed_bytes();
    if (below_three) {
      type.format.map = CodeMap::ternary;
    } else {
      type.format.map = CodeMap::symmetric;
      type.format.zero = *zero;
    }
    context.remarks.push_back(
        {kName, true, value.name,
         fmt::format("bias == -{} scale in every group{}: {}", *zero,
                     type.format.map == CodeMap::ternary ? ", codes below 3" : "",
                     ir::to_string(type.format)),
         affine_bytes - type.packed_bytes(), 0});
  }
  return module;
}

}  // namespace sinter::passes
