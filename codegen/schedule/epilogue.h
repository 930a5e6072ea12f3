// Elementwise nodes as straight-line code on `Lanes`: 16 columns of a row on a CPU, one on a GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/schedule/emitter.h"
#include "ir/graph.h"

namespace sinter::codegen {

// Evaluates nodes lane by lane inside a function with `row`, `col` (first column) and `n` (columns
// left) in scope.
class ElementwiseCode {
 public:
  // `leaf(value, offset)` gives the expression for a value that `nodes` do not define, at columns
  // offset + col; or "" when it has no special form: then weights are read as vectors and tensors
  // as rows.
  using Leaf = std::function<std::string(ir::ValueId, int64_t offset)>;
  // `buffer` says where an outer tensor lies; `row` is the C++ expression of the tensor row that
  // this row stands for.
  ElementwiseCode(const ir::Module& module, const std::vector<ir::Node>& nodes, Leaf leaf,
                  Emitter& setup, std::function<Buffer(ir::ValueId)> buffer, std::string row);

  // The name of a variable (or an expression) that holds `value` at columns offset + col.
  absl::StatusOr<std::string> evaluate(ir::ValueId value, int64_t offset);
  const std::vector<std::string>& statements() const { return statements_; }

 private:
  const ir::Module& module_;
  const std::vector<ir::Node>& nodes_;
  Leaf leaf_;
  Emitter& setup_;  // pointers are declared here, once
  std::function<Buffer(ir::ValueId)> buffer_;
  std::string row_;
  std::map<std::pair<ir::ValueId, int64_t>, std::string> known_;
  std::map<ir::ValueId, std::string> pointers_;
  std::vector<std::string> statements_;
};

}  // namespace sinter::codegen
