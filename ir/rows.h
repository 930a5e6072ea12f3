// Work on rows: which columns of its operands a node needs for columns of its result. Passes ask
// whether such work may be part of a phase, codegen how it is computed.
#pragma once

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "ir/views.h"

namespace sinter::ir {

// What a row is: all that belongs to a token, or one head of a tensor [T, heads, features].
enum class RowOf { token, head };

// The rows that work which ends with this node goes over: heads, when a norm or a vector is of a
// head.
RowOf rows_of(const Module& module, const Node& last);

// Elements of such a row of a tensor.
int64_t row_length(const Module& module, ValueId value, RowOf row);

// The columns of its tensors that an elementwise op, an op by row or a view needs for those `at`
// which its result is read. An error says why work on rows does not include the node.
absl::StatusOr<Runs> operand_columns(const Module& module, const Node& node, const Runs& at,
                                     RowOf row);

}  // namespace sinter::ir
