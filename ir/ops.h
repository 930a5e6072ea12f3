// The op table: one row per op. A new op is one row here, its reference function in
// ir/interpreter_ops.cpp and a line in the emitters that do it specially.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/graph.h"

namespace sinter::ir {

// Shapes in the comments: T tokens, H features. Attributes are listed with their defaults.
enum class Op : uint16_t {
  // Weights to tensors. Only before fold_dequantize: nothing that runs holds a dense copy of a
  // quantized matrix.
  dequantize,  // (w) -> tensor<out x in x f32>, or of stacked experts tensor<E x out x in x f32>.
  // Rows of a table: (tokens [T] i32, table [V,H] weight or dequantized) -> [T,H].
  embed,
  // (x [T,in], w [out,in] weight or dequantized) -> [T,out]: x w^T.
  matmul,
  // Elementwise. The second operand may be a weight vector [H], applied to every row.
  add,
  mul,
  silu,      // x sigmoid(x)
  gelu,      // tanh form
  gelu_erf,  // x/2 (1 + erf(x/sqrt(2))), what gelu approximates
  relu2,     // max(x,0)^2
  sigmoid,
  // (x [..,H], w [H]) -> x * rsqrt(mean(x^2) + eps) * w over the last extent. {eps}
  rms_norm,
  // Same elements, other shape; the leading T or L stays.  The result type says which.
  reshape,
  // (x [..,H]) -> [..,end-begin]. {begin, end}
  slice,
  // (x [T,H]) -> [L,H]: the last L rows, those whose logits are wanted.
  last_rows,
  // (inv_freq [D/2] weight, tokens [T]) -> [T,D]: cos of position*inv_freq in the first half, sin
  // in the second, both
  // times `scale`. {scale = 1.0}. Tokens only give T; the position of row t is the step's position
  // + t.
  rope_table,
  // (x [T,heads,head_dim], table [T,D]) -> same: rotates pairs (i, i + D/2) of the first D features
  // of each head
  // (style "half") or pairs (2i, 2i+1) (style "interleaved"). {style = "half"}
  rope,
  // (cache [kv_heads,C,head_dim] state, x [T,kv_heads,head_dim]): writes rows
  // position..position+T-1 of the cache. No result.
  kv_append,
  // (q [T,heads,head_dim], k state, v state) -> [T,heads*head_dim]: causal softmax(q k^T scale) v,
  // where query t sees
  // cache rows 0..position+t; query head h uses KV head h / (heads / kv_heads). {scale}
  attention,
  // (x [T,E]) -> [T,k] i32: the columns of the k largest of every row, the largest first; of equal
  // ones the lower column first. {k}
  top_k,
  // (x [T,in] or [T,K,in], experts [T,K] i32, w [E,out,in] weight or dequantized) -> [T,K,out]: row
  // t (and k) of x times the matrix that experts[t,k] names.
  gather_matmul,
  // One phase. {kind: "embed" | "rope_table" | "matmul" | "attention" | "rows" | "top_k" |
  // "experts"}
  fused,
};

struct OpInfo {
  Op op;
  std::string_view name;
  int operands;  // -1 for any number
  bool has_result;
  bool elementwise;                          // may be generated into an epilogue, lane by lane
  std::vector<std::string_view> attributes;  // all that the op accepts
  std::vector<std::string_view> required;    // those that must be there
};

const std::vector<OpInfo>& op_table();
const OpInfo& info(Op op);
const OpInfo* find_op(std::string_view name);  // nullptr when unknown
// Whether the operand is a matrix (or stacked ones): a weight or a dequantized one.
bool is_matrix_operand(Op op, size_t operand);

// The type of a node's result by the op's shape rule; for `reshape` the caller gives the wanted
// type and the rule checks it. An error names the op in brackets and what was found.
absl::StatusOr<TensorType> result_type(const Module& module, const Node& node,
                                       const TensorType* wanted);

}  // namespace sinter::ir
