// The reference interpreter: plain, slow, float32. It runs imported and fused graphs alike and
// judges every kernel.
#pragma once

#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::ir {

// A tensor of the interpreter: float32, row-major; tokens are kept as floats too (exact below
// 2^24).
struct Array {
  std::vector<int64_t> shape;
  std::vector<float> data;
};

// The state of one sequence: position is the number of tokens seen. What is kept by position grows
// as rows are appended ([kv_heads, rows so far, head_dim]), other state starts as zeros of its
// shape.
struct InterpreterState {
  int64_t position = 0;
  std::map<ValueId, Array> states;  // those that were used
};

struct StepInput {
  std::vector<int32_t> tokens;
  int64_t logits_rows = 1;  // the symbol L: 1..tokens.size()
  size_t entry = 0;         // of entries_of(module)
  // Of an entry with a second parameter: its numbers, a row for each token.
  std::vector<float> hidden = {};
};

// Runs one step of an entry and advances the state. Gives all that the entry returns. Entries share
// no state, so that each has an InterpreterState of its own.
absl::StatusOr<std::vector<Array>> interpret_entry(const Module& module, const MatrixSource& source,
                                                   const StepInput& input, InterpreterState& state);
// The first value that the entry returns.
absl::StatusOr<Array> interpret(const Module& module, const MatrixSource& source,
                                const StepInput& input, InterpreterState& state);

// Runs single nodes with given operands: for tests of kernels. `position` is the step's.
absl::StatusOr<std::map<ValueId, Array>> interpret_nodes(
    const Module& module, const std::vector<Node>& nodes, const MatrixSource& source,
    std::map<ValueId, Array> values, int64_t tokens, int64_t logits_rows, InterpreterState& state);

}  // namespace sinter::ir
