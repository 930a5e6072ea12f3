#include "codegen/regions/weight_structs.h"

#include <fmt/format.h>

#include "codegen/layouts/layout_table.h"

namespace sinter::codegen {
namespace {

// What codes stand for.
std::string levels_of(const ir::WeightFormat& f) {
  switch (f.map) {
    case ir::CodeMap::affine:
      return fmt::format("Affine<{}>", f.bits);
    case ir::CodeMap::shifted:
      return fmt::format("Shifted<{}>", f.bits);
    case ir::CodeMap::fp4:
      return "Fp4";
    case ir::CodeMap::iq4:
      return "Iq4";
    case ir::CodeMap::sign:
      return "Sign";
    default:
      return fmt::format("Linear<{}, {}>", f.bits, static_cast<int>(2 * f.zero_point()));
  }
}

}  // namespace

absl::Status declare_weights(Emitter& e, const PackedWeight& weight) {
  const auto& [id, name, of_graph, layout, sources] = weight;
  const ir::WeightType type = kernel_type(of_graph);
  const ir::WeightFormat& f = type.format;
  const LayoutRow& row = row_of(layout.order);
  const std::string_view scalar = c_type(f.scale_type);
  const auto at = [&](const Piece& piece, std::string_view element) {
    return e.pointer({Buffer::Kind::weight, weight.id, piece.at}, fmt::format("const {}", element));
  };
  if (f.is_dense()) {
    e.line("using Weights = DenseWeights<{}, {}>;", type.cols(), scalar);
    e.line("const Weights w{{{}}};", at(layout.codes, scalar));
    return absl::OkStatus();
  }
  const int64_t group = dot_group(type);
  if (group == 0)
    return absl::UnimplementedError(
        fmt::format("weight \"{}\" is {}: kernels have groups of a multiple of 16 columns, or one "
                    "for the whole row",
                    name, ir::to_string(of_graph)));

  // Scales, and what is added or taken off beside them.
  std::string scales = "NoScales";
  std::string scale_values = "{}";
  std::string offsets = "NoOffsets";
  std::string offset_values = "{}";
  if (f.block > 0) {
    scales = fmt::format("BlockScales<{}, {}, {}, {}>", f.block, scalar, f.sub_bits, f.sub_zero);
    offsets = f.has_biases() ? scales : offsets;
    if (row.block_records) {
      // Both are in one record.
      scales = fmt::format("BlockScales<{}, {}, {}, {}, {}, {}>", f.group, f.block, scalar,
                           f.sub_bits, f.sub_zero, f.has_biases());
      offsets = "NoOffsets";
      scale_values = fmt::format("{{{}}}", at(layout.scales, "u8"));
    } else {
      scale_values =
          fmt::format("{{{}, {}}}", at(layout.scales, scalar), at(layout.sub_scales, "u8"));
      if (f.has_biases())
        offset_values =
            fmt::format("{{{}, {}}}", at(layout.biases, scalar), at(layout.sub_biases, "u8"));
    }
  } else if (f.group > 0) {
    scales = fmt::format("GroupScales<{}, {}>", f.group, scalar);
    scale_values = fmt::format("{{{}}}", at(layout.scales, scalar));
    if (f.has_biases()) {
      offsets = scales;
      offset_values = fmt::format("{{{}}}", at(layout.biases, scalar));
    }
  }
  if (f.map == ir::CodeMap::shifted) {
    offsets = fmt::format("GroupShifts<{}, {}>", f.group, f.bits);
    offset_values = fmt::format("{{{}}}", at(layout.sub_biases, "u8"));
  }
  std::string factor = "NoFactor";
  std::string factor_values = "{}";
  if (f.tensor_scale) {
    factor = fmt::format("TensorFactors<{}>", sources);
    factor_values = fmt::format("{{{}}}", at(layout.factors, "float"));
  }
  if (f.map == ir::CodeMap::fp8) {
    e.line("using Weights = Fp8Weights<{}, {}, {}, {}>;", type.cols(), group, scales, factor);
    e.line("const Weights w{{{}, {}, {}}};", at(layout.codes, "e4m3"), scale_values, factor_values);
    return absl::OkStatus();
  }
  const std::string codes = f.base3 ? "TritCodes" : fmt::format("{}<{}>", row.codes_struct, f.bits);
  e.line("using Weights = CodedWeights<{}, {}, {}, {}, {}, {}, {}>;", type.cols(), group, codes,
         levels_of(f), scales, offsets, factor);
  e.line("const Weights w{{{}, {}, {}, {}}};", at(layout.codes, "u8"), scale_values, offset_values,
         factor_values);
  return absl::OkStatus();
}

bool multiplies_floats(const ir::WeightFormat& format) {
  return format.is_dense() || format.map == ir::CodeMap::fp8;
}

std::string rows_type(const ir::WeightType& of_graph, int planes, int together) {
  const ir::WeightType type = kernel_type(of_graph);
  if (multiplies_floats(type.format)) return fmt::format("FloatRows<{}>", type.cols());
  const int64_t group = type.format.group > 0 ? dot_group(type) : 0;
  return fmt::format("QuantizedRows<{}, {}, {}{}>", type.cols(), group, planes,
                     together > 1 ? fmt::format(", {}", together) : "");
}

int64_t row_groups(const ir::WeightType& of_graph) {
  const ir::WeightType type = kernel_type(of_graph);
  return type.format.group > 0 ? type.cols() / dot_group(type) : 1;
}

}  // namespace sinter::codegen
