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
#include "models/config.h"

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

// Large enough for every model there is, small enough that products of two sizes fit in 63 bits.
inline constexpr frontends::IntRange kSize{1, int64_t{1} << 30};

class Importer {
 public:
  Importer(std::string model_type, const Config& config, const WeightCatalog& catalog);

  // Fields of the configuration. The first error is kept and reported by `finish`.
  int64_t integer(std::string_view field, frontends::IntRange range = kSize,
                  std::optional<int64_t> otherwise = {});
  double number(std::string_view field, NumberRange range);
  bool flag(std::string_view field, std::optional<bool> otherwise = {});
  std::string text(std::string_view field);
  const Config& config() const { return config_; }
  void fail(absl::Status status);
  bool ok() const { return status_.ok() && graph_.status().ok(); }

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

  int64_t max_positions = 0;  // that the model is made for

 private:
  const Config& config_;
  const WeightCatalog& catalog_;
  ir::Builder graph_;
  std::map<std::string, ir::ValueId, std::less<>> weights_;  // of the graph, by name
  std::set<std::string> used_;
  absl::Status status_;
};

}  // namespace sinter::models
