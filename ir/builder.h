// Builds a module node by node; what model definitions are written with. Result types come from the
// op table.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "ir/graph.h"
#include "ir/ops.h"

namespace sinter::ir {

class Builder {
 public:
  explicit Builder(std::string module_name);

  ValueId param(std::string name, TensorType type);
  ValueId weight(std::string name, WeightType type, WeightData data);
  ValueId state(std::string name, StateType type);

  // Appends a node and gives its result (-1 for an op without one). The first error is kept, later
  // calls do nothing, and `finish` reports it: a model file reads as the paper does, without a
  // check on every line.
  ValueId add(Op op, std::vector<ValueId> operands, Attributes attributes = {});
  ValueId reshape(ValueId x, std::vector<Dim> shape);

  // Label for the nodes that follow.
  void set_label(std::string label) { label_ = std::move(label); }

  // Ends the entry that was built, with what it returns: parameters and nodes that follow are of a
  // further one. Weights are of all entries.
  void begin_entry(std::vector<ValueId> returns, std::string name);

  // The first error so far.
  const absl::Status& status() const { return status_; }
  // With what the last entry returns.
  absl::StatusOr<Module> finish(std::vector<ValueId> returns);

  const Module& module() const { return module_; }

 private:
  ValueId append(Node node, const TensorType* wanted);

  Module module_;
  std::string label_;
  absl::Status status_;
};

}  // namespace sinter::ir
