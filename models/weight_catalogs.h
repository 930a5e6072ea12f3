// Where an importer's weights come from: a checkpoint, or nowhere.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/quantized/mlx.h"
#include "models/importer.h"

namespace sinter::models {

class CheckpointCatalog : public WeightCatalog {
 public:
  explicit CheckpointCatalog(frontends::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  bool has(std::string_view name) const override { return checkpoint_.has(name); }

  absl::StatusOr<ir::WeightType> type(std::string_view name,
                                      const std::vector<int64_t>& shape) const override;

 private:
  frontends::Checkpoint& checkpoint_;
};

// Weights as `quantization` describes them; 1-bit matrices are symmetric, as 1-bit models are.
class SyntheticCatalog : public WeightCatalog {
 public:
  // `file`: of the configuration.
  SyntheticCatalog(std::string_view file, bool tied, bool symmetric,
                   std::optional<frontends::Quantization> quantization)
      : file_(file), tied_(tied), symmetric_(symmetric), quantization_(std::move(quantization)) {}

  bool has(std::string_view name) const override { return name != "lm_head" || !tied_; }

  absl::StatusOr<ir::WeightType> type(std::string_view name,
                                      const std::vector<int64_t>& shape) const override;

 private:
  std::string file_;
  bool tied_;
  bool symmetric_;
  std::optional<frontends::Quantization> quantization_;
};

}  // namespace sinter::models
