// MLX quantization: what config.json says about each module, and the check of a module's tensors
// against it. `<module>.weight` holds codes as one LSB-first bit stream per row in U32 words,
// `<module>.scales` a scale per group; mode affine has `<module>.biases` too, the others have
// scales of one byte (U8).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/json_file.h"
#include "frontends/quantized/modules.h"
#include "ir/matrix.h"

namespace sinter::frontends {

enum class MlxMode {
  affine,
  mxfp4,  // E2M1 with scales of E8M0
  mxfp8,  // E4M3 with scales of E8M0
  nvfp4,  // E2M1 with scales of E4M3, and maybe one more of the matrix
};

// Bits per code and columns per scale.
struct MlxParameters {
  int bits = 4;
  int group_size = 64;
  MlxMode mode = MlxMode::affine;
  bool operator==(const MlxParameters&) const = default;
};

struct Quantization {
  MlxParameters global;
  // By module as config.json names it; nullopt stands for `false`: this module is dense.
  std::map<std::string, std::optional<MlxParameters>> overrides;
};

// The block that says how modules are quantized: `quantization`, `quantization_config` or
// `compression_config`, at the top or under `text_config`. Those that are there must agree, except
// that one of another method than the tensors are stored by is passed over with a note.
struct QuantizationBlock {
  std::string name;             // "text_config.quantization"; empty when there is none
  const Json* value = nullptr;  // into the configuration
};
absl::StatusOr<QuantizationBlock> find_quantization(const Json& config, std::string_view file,
                                                    const StoredTensors* tensors = nullptr,
                                                    std::vector<std::string>* notes = nullptr);

// Reads an MLX block, naming the module that it cannot read; nullopt when there is none.
absl::StatusOr<std::optional<Quantization>> read_quantization(const Json& config,
                                                              std::string_view file);

absl::StatusOr<Quantization> read_mlx_block(const QuantizationBlock& block, std::string_view file);

// The format of a matrix; `affine_scales` is the type of scales and biases of mode affine.
ir::WeightFormat weight_format(const MlxParameters& parameters, ir::DType affine_scales);

// The parameters of every module whose override says something, under the checkpoint's own names:
// spellings differ by leading "model." and "language_model." components. Overrides of a part of
// which there is no module at all say nothing, with a note. Error: an override that names no module
// beside others that are there, or several, or two that contradict each other.
absl::StatusOr<std::map<std::string, std::optional<MlxParameters>>> resolve_overrides(
    const Quantization& quantization, const std::set<std::string>& modules, std::string_view file,
    std::vector<std::string>* notes = nullptr);

// The reader of the method table. The modules are those that have `<module>.scales`.
absl::Status read_mlx(QuantizedModules& modules);

}  // namespace sinter::frontends
