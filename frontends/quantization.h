// MLX quantization: what config.json says about each module, and the check of a module's tensors
// against it. Format: mode "affine", w = scale * code + bias; codes packed as one LSB-first bit
// stream per row in U32 words.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "frontends/json_file.h"
#include "frontends/safetensors.h"
#include "ir/matrix.h"

namespace sinter::frontends {

// Bits per code and columns per scale.
struct AffineParameters {
  int bits = 4;
  int group_size = 64;
  bool operator==(const AffineParameters&) const = default;
};

struct Quantization {
  AffineParameters global;
  // By module as config.json names it; nullopt stands for `false`: this module is dense.
  std::map<std::string, std::optional<AffineParameters>> overrides;
};

// Reads `quantization` and `quantization_config` (at the top and under `text_config`), which must
// agree; nullopt when there is neither. Refuses modes other than affine and Hugging Face's
// quant_method, naming the module.
absl::StatusOr<std::optional<Quantization>> read_quantization(const Json& config,
                                                              std::string_view file);

// The parameters of every module whose override says something, under the checkpoint's own names:
// spellings differ by leading "model." and "language_model." components. Error: an override that
// names no module, or several, or two that contradict each other.
absl::StatusOr<std::map<std::string, std::optional<AffineParameters>>> resolve_overrides(
    const Quantization& quantization, const std::set<std::string>& modules, std::string_view file);

// The matrix of a module that has `<module>.scales`. Shapes, dtypes and finite scales and biases
// are checked.
absl::StatusOr<ir::Matrix> affine_matrix(std::string_view module, const StoredTensors& tensors,
                                         AffineParameters parameters);

}  // namespace sinter::frontends
