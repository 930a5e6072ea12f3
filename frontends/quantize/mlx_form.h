// The forms in which MLX's checkpoints store a packed matrix, and what of other formats has one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "frontends/quantized/matrix.h"
#include "ir/matrix.h"

namespace sinter::frontends {

// The format of MLX that holds exactly what a packed matrix says: affine, mxfp4, nvfp4 or mxfp8.
// Symmetric, shifted and ternary ones get biases, groups longer than 128 become several, and so
// does one scale of the whole matrix. nullopt: there is none, because of the group, the bits, the
// table of levels or a second level of scales.
std::optional<ir::WeightFormat> mlx_format(const ir::Matrix& matrix);

// "affine", "mxfp4", "nvfp4" or "mxfp8", of a format that mlx_format gave.
std::string_view mlx_mode(const ir::WeightFormat& format);

// The same numbers in the order of MLX: rows of codes as one bit stream, scales and biases apart.
// Error: a scale or bias is not exact in the type of the scales.
absl::StatusOr<QuantizedMatrix> to_mlx_form(std::string_view name, const ir::Matrix& matrix);

// "P.weight" of module P, or the key itself when it is a tensor's full name.
std::string tensor_name(const Checkpoint& checkpoint, const std::string& key);

// "F16", "BF16", "F32", or "U8" for scales of one byte, as safetensors names them.
std::string_view safetensors_dtype(ir::DType dtype);

}  // namespace sinter::frontends
