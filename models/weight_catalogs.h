// Where an importer's weights come from: a checkpoint, or nowhere.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/quantized/mlx.h"
#include "models/family.h"
#include "models/importer.h"
#include "models/renames.h"

namespace sinter::models {

class CheckpointCatalog : public WeightCatalog {
 public:
  // What the checkpoint calls tensors, and which are left out, says the family. Both must outlive
  // the catalog.
  CheckpointCatalog(frontends::Checkpoint& checkpoint, const Family& family);

  bool has(std::string_view name) const override { return names_.contains(name); }
  std::string source(std::string_view name) const override;

  absl::StatusOr<StoredWeight> find(std::string_view name,
                                    const std::vector<int64_t>& shape) const override;
  absl::StatusOr<StoredWeight> view(std::string_view name, const std::vector<int64_t>& whole,
                                    const std::vector<int64_t>& shape,
                                    const ir::RowPlaces& places) const override;
  absl::StatusOr<StoredWeight> computed(std::string_view name, const std::vector<int64_t>& shape,
                                        std::string_view what,
                                        const std::function<double(double)>& number,
                                        int64_t repeat) const override;
  absl::StatusOr<std::vector<float>> numbers(std::string_view name) const override;
  std::vector<int64_t> stored_shape(std::string_view name) const override;
  absl::StatusOr<std::vector<float>> signs(int64_t width) const override;

  // Tensors that the family leaves out.
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  // The type of a matrix, whose columns may be rotated.
  ir::WeightType rotated(std::string_view key, ir::WeightType type) const;
  // The key of a packed matrix's numbers, which are decoded if they are not yet.
  absl::StatusOr<std::string> decoded(const std::string& key) const;
  // As the checkpoint shows it; of one that is missing, as it would.
  std::string shown(std::string_view name) const;

  frontends::Checkpoint& checkpoint_;
  std::span<const Rename> tensors_;
  std::map<std::string, std::string, std::less<>> names_;  // keys of the checkpoint by name
  std::vector<std::string> skipped_;
};

// Weights as `quantization` describes them; 1-bit matrices are symmetric, as 1-bit models are.
class SyntheticCatalog : public WeightCatalog {
 public:
  // `file`: of the configuration.
  // `rotation`: columns of a block in which all quantized matrices are rotated; 0: they are not.
  SyntheticCatalog(std::string_view file, bool tied, bool symmetric, int64_t rotation,
                   std::optional<frontends::Quantization> quantization)
      : file_(file),
        tied_(tied),
        symmetric_(symmetric),
        rotation_(rotation),
        quantization_(std::move(quantization)) {}

  bool has(std::string_view name) const override { return name != "lm_head" || !tied_; }
  std::string source(std::string_view name) const override { return std::string(name); }

  absl::StatusOr<StoredWeight> find(std::string_view name,
                                    const std::vector<int64_t>& shape) const override;
  absl::StatusOr<StoredWeight> view(std::string_view name, const std::vector<int64_t>& whole,
                                    const std::vector<int64_t>& shape,
                                    const ir::RowPlaces& places) const override;
  absl::StatusOr<StoredWeight> computed(std::string_view name, const std::vector<int64_t>& shape,
                                        std::string_view what,
                                        const std::function<double(double)>& number,
                                        int64_t repeat) const override;
  absl::StatusOr<std::vector<float>> numbers(std::string_view name) const override;
  std::vector<int64_t> stored_shape(std::string_view name) const override;
  absl::StatusOr<std::vector<float>> signs(int64_t width) const override;

 private:
  std::string file_;
  bool tied_;
  bool symmetric_;
  int64_t rotation_;
  std::optional<frontends::Quantization> quantization_;
};

}  // namespace sinter::models
