// What shape rules read: the operands of one node, fetched with the check of what they are.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "ir/graph.h"

namespace sinter::ir {

// The first error is kept: it names the op in brackets, and `what` the operand is.
class ShapeOperands {
 public:
  ShapeOperands(const Module& module, const Node& node, const TensorType* wanted)
      : module_(module), node_(node), wanted_(wanted) {}

  const Node& node() const { return node_; }
  size_t count() const { return node_.operands.size(); }
  // The type that the caller wants the result to have; nullptr when it did not say.
  const TensorType* wanted() const { return wanted_; }

  // A tensor of floats that a node or the caller made; `rank` 0 for any of at least one.
  const TensorType* tensor(size_t i, std::string_view what, size_t rank);
  const TensorType* tokens(size_t i);
  const TensorType* indices(size_t i, std::string_view what);
  // Extents of stacked matrices, a weight or a dequantized one.
  std::vector<int64_t> stacked(size_t i, std::string_view what);
  const StateType* state(size_t i, std::string_view what, StateKind kind);
  const StateType* state_by_position(size_t i, std::string_view what);
  bool is_weight(size_t i);
  const WeightType* weight(size_t i, std::string_view what);
  // Elements of a dense weight vector; 0 on error.
  int64_t weight_vector(size_t i, std::string_view what);
  // Rows and columns of a weight matrix or of a dequantized one; {0, 0} on error.
  std::pair<int64_t, int64_t> matrix(size_t i, std::string_view what);

  const absl::Status& fail(const std::string& message);
  // Row t of the ops on state is at position + t, which is true of all tokens only.
  const absl::Status& fail_rows(const TensorType& type);
  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  const Value* get(size_t i);
  const StateType* state(size_t i, std::string_view what);
  const TensorType* any_tensor(size_t i, std::string_view what);
  const TensorType* ranked(const TensorType* type, std::string_view what, size_t rank);

  const Module& module_;
  const Node& node_;
  const TensorType* wanted_;
  absl::Status status_;
};

}  // namespace sinter::ir
