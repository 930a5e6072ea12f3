// What a model definition is written with: a graph builder that knows the configuration and the
// weights.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/builder.h"
#include "nlohmann/json.hpp"

namespace sinter::models {

// Which weights there are and how they are stored.
class WeightCatalog {
 public:
  virtual ~WeightCatalog() = default;
  virtual bool has(std::string_view name) const = 0;
  // The stored type of a weight that the configuration says has this shape. Error: missing, or
  // another shape.
  virtual absl::StatusOr<ir::WeightType> type(std::string_view name,
                                              const std::vector<int64_t>& shape) const = 0;
};

class Importer {
 public:
  Importer(std::string model_type, const nlohmann::json& config, const WeightCatalog& catalog);

  // Fields of config.json. The first error is kept and reported by `finish`.
  int64_t positive(std::string_view key);
  int64_t positive_or(std::string_view key, int64_t fallback);
  double number_or(std::string_view key, double fallback);
  bool flag_or(std::string_view key, bool fallback);
  std::string text_or(std::string_view key, const std::string& fallback);
  const nlohmann::json& config() const { return config_; }
  void fail(absl::Status status);
  bool ok() const { return status_.ok(); }

  bool has(std::string_view name) const { return catalog_.has(name); }
  ir::ValueId weight(std::string_view name, const std::vector<int64_t>& shape);
  // A weight that is there but deliberately not used.
  void ignore(std::string_view name) { used_.insert(std::string(name)); }
  // x w^T (+ bias): `name` is the module, [out, in] its shape.
  ir::ValueId linear(ir::ValueId x, const std::string& name, int64_t out, int64_t in, bool bias);
  ir::ValueId rms_norm(ir::ValueId x, const std::string& name, int64_t size, double eps);
  // The matrix as numbers, for `embed` and `matmul`.
  ir::ValueId dense(ir::ValueId weight);

  ir::Builder& graph() { return graph_; }
  const std::set<std::string>& used() const { return used_; }
  absl::StatusOr<ir::Module> finish(ir::ValueId logits);

 private:
  const nlohmann::json& config_;
  const WeightCatalog& catalog_;
  ir::Builder graph_;
  std::set<std::string> used_;
  absl::Status status_;
};

}  // namespace sinter::models
