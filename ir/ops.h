// The op table, as C++: ir/ops.def has the rows and says how to add one.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/graph.h"

namespace sinter::ir {

enum class Op : uint16_t {
#define SINTER_OP(name, ...) name,
#include "ir/ops.def"
};

// What a result element is computed from; passes and kernels ask for this instead of for names.
enum class OpClass {
  constant,     // weights and positions alone
  elementwise,  // the elements at the same place of the operands; kernels compute it lane by lane
  by_row,       // one run along the last extent: a row, or a head of a tensor of heads
  by_head,      // one head of a tensor of heads, and what belongs to its row
  reduction,    // sums or choices over columns, rows of a table or positions
  view,         // one element of the operand, unchanged
  state,        // no result: a state is changed
  bracket,      // the body
};

enum class OperandKind {
  tensor,         // floats that a node or the caller computed
  integers,       // i32: tokens, numbers of experts
  vector,         // a dense weight vector
  broadcast,      // a tensor, or a weight vector that is applied to every row
  matrix,         // a weight or a dequantized one, possibly stacked; read row by row, as stored
  packed,         // a weight, passed on as stored
  read_state,     // a state as it is
  updated_state,  // a state, read and changed in place
};

struct OperandInfo {
  OperandKind kind;
  bool is_optional;  // only behind those that are not
  OperandInfo(OperandKind k, bool optional = false) : kind(k), is_optional(optional) {}
};

enum class AttributeType { integer, number, text, flag, integers };

struct AttributeInfo {
  std::string_view name;
  AttributeType type = AttributeType::number;
  std::optional<Attribute> fallback;  // what holds without it; empty: it must be there
};

// What an op does to states.
enum class Effect { none, reads, updates };

class ShapeOperands;
struct OpArguments;
struct Array;

struct OpInfo {
  Op op;
  std::string_view name;
  OpClass op_class;
  std::vector<OperandInfo> operands;
  std::vector<AttributeInfo> attributes;
  absl::StatusOr<TensorType> (*shape_rule)(ShapeOperands& in);
  absl::StatusOr<Array> (*reference)(const OpArguments& in);  // nullptr for SINTER_FORM

  bool has_result() const { return op_class != OpClass::state; }
  size_t least_operands() const;
  Effect effect() const;
  const AttributeInfo* find_attribute(std::string_view attribute) const;  // nullptr when unknown
};

// In the order of the enumeration.
const std::vector<OpInfo>& op_table();
const OpInfo& info(Op op);
const OpInfo* find_op(std::string_view name);  // nullptr when unknown

inline bool is(Op op, OpClass op_class) { return info(op).op_class == op_class; }
inline bool is_elementwise(Op op) { return is(op, OpClass::elementwise); }
inline bool is_by_row(Op op) { return is(op, OpClass::by_row); }
inline bool is_by_head(Op op) { return is(op, OpClass::by_head); }
// What a row has in columns that integers name, or makes of it.
inline bool is_of_columns(Op op) { return op == Op::gather || op == Op::sparsemixer; }
inline bool is_view(Op op) { return is(op, OpClass::view); }
// Whether the operand is a matrix (or stacked ones): a weight or a dequantized one.
bool is_matrix_operand(Op op, size_t operand);

// The type of a node's result by the op's shape rule; for `reshape` the caller gives the wanted
// type and the rule checks it. An error names the op in brackets and what was found.
absl::StatusOr<TensorType> result_type(const Module& module, const Node& node,
                                       const TensorType* wanted);

}  // namespace sinter::ir
