#include "models/weight_catalogs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "frontends/error_text.h"

namespace sinter::models {

absl::StatusOr<ir::WeightType> CheckpointCatalog::type(std::string_view name,
                                                       const std::vector<int64_t>& shape) const {
  checkpoint_.drop_padding(name, shape.front());
  auto type = checkpoint_.type(name);
  if (!type.ok()) return type.status();
  if (type->shape != shape)
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor {} is [{}], but {} asks for [{}]; one of them is wrong",
                    frontends::one_line(checkpoint_.path.string(), 1000),
                    frontends::in_quotes(checkpoint_.shown_name(name)),
                    fmt::join(type->shape, ", "), checkpoint_.config_file, fmt::join(shape, ", ")));
  return type;
}

absl::StatusOr<ir::WeightType> SyntheticCatalog::type(std::string_view name,
                                                      const std::vector<int64_t>& shape) const {
  ir::WeightType type{shape, {}};
  type.format.scale_type = ir::DType::f16;
  if (shape.size() != 2 || !quantization_.has_value()) return type;
  frontends::MlxParameters parameters = quantization_->global;
  const auto found = quantization_->overrides.find(std::string(name));
  if (found != quantization_->overrides.end()) {
    if (!found->second.has_value()) return type;
    parameters = *found->second;
  }
  if (shape[1] % parameters.group_size != 0)
    return absl::InvalidArgumentError(
        fmt::format("{}: \"{}\" has {} columns, not a multiple of the quantization's group_size {}",
                    file_, name, shape[1], parameters.group_size));
  type.format = frontends::weight_format(parameters, ir::DType::f16);
  if (type.format.has_biases() && (parameters.bits == 1 || symmetric_)) {
    type.format.map = parameters.bits == 2 ? ir::CodeMap::ternary : ir::CodeMap::symmetric;
    if (parameters.bits != 2)
      type.format.zero = parameters.bits == 1 ? 0.5 : 1 << (parameters.bits - 1);
  }
  return type;
}

}  // namespace sinter::models
