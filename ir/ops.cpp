#include "ir/ops.h"

namespace sinter::ir {

const std::vector<OpInfo>& op_table() {
  // In the order of the enumeration.
  static const std::vector<OpInfo> table = {
      {Op::dequantize, "dequantize", 1, true, false, {}, {}},
      {Op::embed, "embed", 2, true, false, {}, {}},
      {Op::matmul, "matmul", 2, true, false, {}, {}},
      {Op::add, "add", 2, true, true, {}, {}},
      {Op::mul, "mul", 2, true, true, {}, {}},
      {Op::silu, "silu", 1, true, true, {}, {}},
      {Op::gelu, "gelu", 1, true, true, {}, {}},
      {Op::gelu_erf, "gelu_erf", 1, true, true, {}, {}},
      {Op::relu2, "relu2", 1, true, true, {}, {}},
      {Op::sigmoid, "sigmoid", 1, true, true, {}, {}},
      {Op::rms_norm, "rms_norm", 2, true, false, {"eps"}, {"eps"}},
      {Op::reshape, "reshape", 1, true, false, {}, {}},
      {Op::slice, "slice", 1, true, false, {"begin", "end"}, {"begin", "end"}},
      {Op::last_rows, "last_rows", 1, true, false, {}, {}},
      {Op::rope_table, "rope_table", 2, true, false, {"scale"}, {}},
      {Op::rope, "rope", 2, true, false, {"style"}, {}},
      {Op::kv_append, "kv_append", 2, false, false, {}, {}},
      {Op::attention, "attention", 3, true, false, {"scale"}, {"scale"}},
      {Op::top_k, "top_k", 1, true, false, {"k"}, {"k"}},
      {Op::gather_matmul, "gather_matmul", 3, true, false, {}, {}},
      {Op::fused, "fused", -1, true, false, {"kind"}, {"kind"}},
  };
  return table;
}

const OpInfo& info(Op op) { return op_table().at(static_cast<size_t>(op)); }

const OpInfo* find_op(std::string_view name) {
  for (const OpInfo& row : op_table()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

bool is_matrix_operand(Op op, size_t operand) {
  if (op == Op::gather_matmul) return operand == 2;
  return (op == Op::matmul || op == Op::embed) && operand == 1;
}

}  // namespace sinter::ir
