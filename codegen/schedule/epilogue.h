// Elementwise nodes as straight-line code on `Lanes`: 16 columns of a row on a CPU, one on a GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/schedule/emitter.h"
#include "ir/graph.h"
#include "ir/rows.h"
#include "ir/views.h"

namespace sinter::codegen {

// Evaluates nodes lane by lane inside a function with `row`, `col` (first column) and `n` (columns
// left) in scope.
class ElementwiseCode {
 public:
  // What it evaluates, and what it reads.
  struct Scope {
    const ir::Module& module;
    const std::vector<ir::Node>& nodes;
    // The expression for a value at columns of its row that stand for `col`; "" when it has no
    // special form: then nodes are evaluated, weights are read as vectors and tensors as rows.
    std::function<absl::StatusOr<std::string>(ir::ValueId, const ir::Runs& at)> leaf;
    std::function<Buffer(ir::ValueId)> buffer;    // where an outer tensor lies
    std::function<std::string(ir::ValueId)> row;  // of the tensor that stands for `row`
    ir::RowOf row_of = ir::RowOf::token;
    std::string prefix = "in";  // of the names of pointers
  };
  // Pointers are declared in `setup`, once.
  ElementwiseCode(Scope scope, Emitter& setup) : scope_(std::move(scope)), setup_(setup) {}

  // The name of a variable (or an expression) that holds `value`: element i of its row at place i
  // of the runs `at`.
  absl::StatusOr<std::string> evaluate(ir::ValueId value, const ir::Runs& at);
  const std::vector<std::string>& statements() const { return statements_; }

 private:
  absl::StatusOr<std::string> apply(const ir::Node& node, const ir::Runs& at);
  std::string load(ir::ValueId value, const ir::Runs& at);
  std::string load_run(ir::ValueId value, const std::string& from, const ir::Runs& at) const;

  using Place = std::tuple<ir::ValueId, int64_t, int64_t, int64_t>;  // value, offset, run, stride
  Scope scope_;
  Emitter& setup_;
  std::map<Place, std::string> known_;
  std::map<ir::ValueId, std::string> pointers_;
  std::vector<std::string> statements_;
};

}  // namespace sinter::codegen
