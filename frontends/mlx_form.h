// The forms in which MLX's checkpoints store a packed matrix, and what of other formats has one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "frontends/quantized_matrix.h"
#include "ir/matrix.h"

namespace sinter::frontends {

// The affine format that holds exactly what a packed matrix of this type says: symmetric and
// ternary ones get biases, groups longer than 128 become several. nullopt: there is none, because
// of the group or the bits.
std::optional<ir::WeightFormat> mlx_format(const ir::WeightType& type);

// The same numbers in the order of MLX: rows of codes as one bit stream, scales and biases apart.
// Error: a bias is not exact in the type of the scales.
absl::StatusOr<QuantizedMatrix> to_mlx_form(std::string_view name, const ir::Matrix& matrix);

// "P.weight" of module P, or the key itself when it is a tensor's full name.
std::string tensor_name(const Checkpoint& checkpoint, const std::string& key);

// "F16", "BF16", "F32" as safetensors names them.
std::string_view safetensors_dtype(ir::DType dtype);

}  // namespace sinter::frontends
