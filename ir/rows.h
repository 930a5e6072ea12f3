// Work on rows: which columns of its operands a node needs for columns of its result. Passes ask
// whether such work may be part of a phase, codegen how it is computed.
#pragma once

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "ir/views.h"

namespace sinter::ir {

// What a row is: all that belongs to a token; one head of a tensor [T, heads, features]; or a head
// wherever views have left it in what belongs to its token: then columns are the runs of all heads,
// and row r is run r % heads of token r / heads.
enum class RowOf { token, head, run };

// The rows that work which ends with this node goes over: heads, when a norm or a vector is of a
// head.
RowOf rows_of(const Module& module, const Node& last);

// Elements of such a row of a tensor, which is no run.
int64_t row_length(const Module& module, ValueId value, RowOf row);

// The columns of its tensors that an elementwise op, an op by row or a view needs for those `at`
// which its result is read. An error says why work on rows does not include the node.
absl::StatusOr<Runs> operand_columns(const Module& module, const Node& node, const Runs& at,
                                     RowOf row);

}  // namespace sinter::ir
