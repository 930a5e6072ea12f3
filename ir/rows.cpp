#include "ir/rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/ops.h"

namespace sinter::ir {

namespace {

bool has_vector(const Module& module, const Node& node) {
  return is_elementwise(node.op) && std::any_of(node.operands.begin(), node.operands.end(),
                                                [&](ValueId id) { return module.is_weight(id); });
}

}  // namespace

RowOf rows_of(const Module& module, const Node& last) {
  const bool of_heads = is_by_row(last.op) || has_vector(module, last);
  return of_heads && module.tensor(last.results[0]).shape.size() == 3 ? RowOf::head : RowOf::token;
}

int64_t row_length(const Module& module, ValueId value, RowOf row) {
  return row == RowOf::head ? module.tensor(value).shape.back().value : row_elements(module, value);
}

absl::StatusOr<Runs> operand_columns(const Module& module, const Node& node, const Runs& at,
                                     RowOf row) {
  const std::string_view op = info(node.op).name;
  const auto refuse = [&](std::string_view why) {
    return absl::UnimplementedError(fmt::format("[{}] {}", op, why));
  };
  const TensorType& type = module.tensor(node.results[0]);
  const bool whole_rows = row != RowOf::token || type.shape.size() == 2;
  const int64_t width = type.shape.back().value;
  const bool whole_runs = at.length() == width && at.aligned_to(width);
  if (is_elementwise(node.op)) {
    if (has_vector(module, node) && !whole_rows) return refuse("applies a vector to every head");
    if (row == RowOf::run && has_vector(module, node) && type.shape.size() > 2 && !whole_runs)
      return refuse("applies a vector to parts of it");
    return at;
  }
  if (is_by_row(node.op)) {
    if (!whole_rows) return refuse("goes over heads, not over the rows of the phase");
    if (row == RowOf::run) {
      if (!whole_runs) return refuse("does not go over the heads of the phase");
      return at;
    }
    if (at.offset() != 0 || at.length() != width) return refuse("is read in parts");
    return at;
  }
  if (node.op == Op::last_rows && row != RowOf::run) return at;
  if (!is_view(node.op) || node.op == Op::last_rows) return refuse("is no work on rows");
  if (row == RowOf::head) return refuse("is a view in a phase over heads");
  Runs columns = at;
  if (const absl::Status status = columns.follow(module, node); !status.ok()) return status;
  if (!columns.stride().has_value()) return refuse("leaves runs at unequal distances");
  return columns;
}

}  // namespace sinter::ir
