// What a model definition is written with: a graph builder that knows the configuration and the
// weights.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/builder.h"
#include "ir/matrix.h"
#include "models/config.h"
#include "models/entry.h"
#include "models/rope.h"

namespace sinter::models {

// A weight as it is stored, by the name that its source has for it.
struct StoredWeight {
  std::string source;
  ir::WeightType type;
  // Keys of the checkpoint that it is made of, beside `source`.
  std::vector<std::string> used;
};

// Which weights there are and how they are stored, by the names that model definitions have.
class WeightCatalog {
 public:
  virtual ~WeightCatalog() = default;
  virtual bool has(std::string_view name) const = 0;
  // The name that the source has for it.
  virtual std::string source(std::string_view name) const = 0;
  // A weight that the configuration says has this shape. Error: missing, or another shape.
  virtual absl::StatusOr<StoredWeight> find(std::string_view name,
                                            const std::vector<int64_t>& shape) const = 0;
  // Rows of a weight of shape `whole`, or the same with other extents.
  virtual absl::StatusOr<StoredWeight> view(std::string_view name,
                                            const std::vector<int64_t>& whole,
                                            const std::vector<int64_t>& shape,
                                            const ir::RowPlaces& places) const = 0;
  // A tensor in float32 that is computed of the elements of a stored one, each of which gives
  // `repeat` of it; `what` names the function. Of a vector the number of elements counts alone.
  virtual absl::StatusOr<StoredWeight> computed(std::string_view name,
                                                const std::vector<int64_t>& shape,
                                                std::string_view what,
                                                const std::function<double(double)>& number,
                                                int64_t repeat) const = 0;
  // All numbers of a dense tensor.
  virtual absl::StatusOr<std::vector<float>> numbers(std::string_view name) const = 0;
  // The signs of rows of so many features where columns of matrices are rotated.
  virtual absl::StatusOr<std::vector<float>> signs(int64_t width) const = 0;
  // The extents that it has in its file; empty where there is none.
  virtual std::vector<int64_t> stored_shape(std::string_view name) const = 0;
};

// Large enough for every model there is, small enough that products of two sizes fit in 63 bits.
inline constexpr frontends::IntRange kSize{1, int64_t{1} << 30};

// Rows of a stored matrix that a projection has for its own; the matrix has `whole` of them.
struct PartOf {
  std::string name;  // the module
  int64_t whole = 0;
  ir::RowPlaces places;
};

class Importer {
 public:
  Importer(std::string model_type, const Config& config, const WeightCatalog& catalog);

  // Fields of the configuration. The first error is kept and reported by `finish`.
  int64_t integer(std::string_view field, frontends::IntRange range = kSize,
                  std::optional<int64_t> otherwise = {});
  double number(std::string_view field, NumberRange range = {},
                std::optional<double> otherwise = {});
  bool flag(std::string_view field, std::optional<bool> otherwise = {});
  std::string text(std::string_view field, std::optional<std::string> otherwise = {});
  // A list of so many integers, or one integer for all.
  std::vector<int64_t> integers(std::string_view field, int64_t count, frontends::IntRange range);
  std::vector<double> numbers(std::string_view field, int64_t count);
  std::vector<std::string> texts(std::string_view field, int64_t count);
  // What a field is that the file does not mention, where that follows from others.
  void derive(std::string_view field, const nlohmann::json& value) const {
    config_.derive(field, value);
  }
  // A field that must have this value: other ones are not supported.
  void expect(std::string_view field, const nlohmann::json& value);
  // RoPE as the configuration has it.
  Rope rope(const RopeFields& fields);
  const Config& config() const { return config_; }
  void fail(absl::Status status);
  bool ok() const { return status_.ok() && graph_.status().ok(); }

  bool has(std::string_view name) const { return catalog_.has(name); }
  ir::ValueId weight(std::string_view name, const std::vector<int64_t>& shape);
  ir::ValueId part(const PartOf& part, const std::vector<int64_t>& shape);
  // Parts of one stored matrix one after another, [out, in] together.
  ir::ValueId parts(const std::vector<PartOf>& parts, const std::string& symbol, int64_t in);
  // A weight that is stored with other extents.
  ir::ValueId reshaped(std::string_view name, const std::vector<int64_t>& stored,
                       const std::vector<int64_t>& shape);
  // A vector that is stored with any extents.
  ir::ValueId flattened(std::string_view name, int64_t size) {
    return reshaped(name, {size}, {size});
  }
  // Taps [channels, taps] of a convolution of each channel, the newest last; files have an extent
  // of 1 before or behind them.
  ir::ValueId convolution_taps(std::string_view name, int64_t channels, int64_t taps) {
    return reshaped(name, {channels, 1, taps}, {channels, taps});
  }
  ir::ValueId computed(std::string_view name, const std::vector<int64_t>& shape,
                       std::string_view what, const std::function<double(double)>& number,
                       int64_t repeat = 1);
  // A vector of equal numbers; one of these, which `symbol` names.
  ir::ValueId constant(int64_t size, float number);
  ir::ValueId constant(const std::string& symbol, std::vector<float> numbers);
  // Matrices [count, out, in] of experts, the rows of `name` under `experts`: stacked, or one for
  // each expert.
  ir::ValueId stacked(const std::string& experts, std::string_view name, int64_t count, int64_t out,
                      int64_t in, bool transposed = false);
  // Vectors `name`.0, `name`.1, .. of so many elements each, one after another.
  ir::ValueId joined(const std::string& name, int64_t count, int64_t size);
  // The only number of a tensor; the mean of a vector's.
  double scalar(std::string_view name);
  double mean(std::string_view name);
  // The extents that a tensor has in its file; empty where there is none.
  std::vector<int64_t> stored_shape(std::string_view name) const {
    return catalog_.stored_shape(name);
  }
  // Whether there is such a tensor, in a file.
  bool is_stored(std::string_view name) const { return !stored_shape(name).empty(); }
  // A weight that is there but deliberately not used.
  void ignore(std::string_view name);

  // x w^T (+ bias): `name` is the module, [out, in] its shape.
  ir::ValueId linear(ir::ValueId x, const std::string& name, int64_t out, int64_t in, bool bias);
  ir::ValueId linear(ir::ValueId x, const std::vector<PartOf>& parts, const std::string& label,
                     int64_t in);
  // The same of some rows of a module, which gives the result `label`.
  ir::ValueId linear(ir::ValueId x, const PartOf& part, const std::string& label, int64_t out,
                     int64_t in, bool bias);
  // x times a run of columns of a module, [out, parts in] whole: number `part` of so many.
  ir::ValueId linear_with_columns(ir::ValueId x, const std::string& name, int64_t out, int64_t in,
                                  int64_t part, int64_t parts);
  ir::ValueId rms_norm(ir::ValueId x, const std::string& name, int64_t size, double eps);
  // x scale + offset; x itself where that changes nothing.
  ir::ValueId affine(ir::ValueId x, double scale, double offset = 0);
  // x as a matrix is multiplied with it, whose columns may be rotated; of rows of such a table, as
  // they were before.
  ir::ValueId rotated(ir::ValueId x, ir::ValueId weight);
  ir::ValueId rotated_back(ir::ValueId x, ir::ValueId table);
  // x w^T.
  ir::ValueId multiplied(ir::ValueId x, ir::ValueId weight) {
    const ir::ValueId input = rotated(x, weight);
    return ok() ? graph_.add(ir::Op::matmul, {input, dense(weight)}) : -1;
  }
  // The matrix as numbers, for `embed` and `matmul`.
  ir::ValueId dense(ir::ValueId weight);
  // cos and sin of a step's positions; equal ones are one table.
  ir::ValueId angles(const Rope& rope);
  ir::ValueId tokens();
  // A row [width] for each token, the second parameter of an entry.
  ir::ValueId hidden(int64_t width);
  // What follows is of another entry, with tokens and tables of angles of its own.
  void begin_entry(std::vector<ir::ValueId> returned, const std::string& name);

  ir::Builder& graph() { return graph_; }
  const std::set<std::string>& used() const { return used_; }
  absl::StatusOr<ir::Module> finish(ir::ValueId logits) {
    return finish(std::vector<ir::ValueId>{logits});
  }
  // With all that the last entry returns.
  absl::StatusOr<ir::Module> finish(std::vector<ir::ValueId> returned);

  bool drafts = false;           // the head that drafts tokens is wanted, too
  int64_t max_positions = 0;     // that the model is made for
  const Entry* entry = nullptr;  // of a family that a user describes
  bool flags_taken = false;      // the entry's flags of blocks were applied

 private:
  ir::ValueId add(const std::string& symbol, const absl::StatusOr<StoredWeight>& stored);
  ir::ValueId signs(int64_t width);
  ir::ValueId product(ir::ValueId x, ir::ValueId w, ir::ValueId bias, const std::string& label);

  const Config& config_;
  const WeightCatalog& catalog_;
  ir::Builder graph_;
  std::map<std::string, ir::ValueId, std::less<>> weights_;  // of the graph, by symbol
  std::vector<std::pair<Rope, ir::ValueId>> frequencies_;    // of all entries
  std::vector<std::pair<Rope, ir::ValueId>> angles_;         // of this one
  std::map<ir::ValueId, ir::ValueId> rotated_;  // rows, once for all that are multiplied with them
  ir::ValueId tokens_ = -1;
  std::string entry_name_;      // with a dot; of the first it is empty
  std::set<std::string> used_;  // keys of the checkpoint
  absl::Status status_;
};

// A part of a layer: x [T,hidden] -> [T,hidden], with weights under `layer`, "model.layers.3.".
using Block = std::function<ir::ValueId(Importer& m, ir::ValueId x, const std::string& layer)>;

// What a state of a layer is called: "layers.3.keys".
std::string state_name(std::string_view layer, std::string_view what);

}  // namespace sinter::models
