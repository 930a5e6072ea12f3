#include "ir/ops.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "ir/interpreter_ops.h"
#include "ir/shape_rules.h"

namespace sinter::ir {

namespace {

// The words of ir/ops.def.
constexpr double infinity = std::numeric_limits<double>::infinity();
OperandInfo optional(OperandKind kind) { return {kind, true}; }
AttributeInfo integer(std::string_view name) { return {name, AttributeType::integer, {}}; }
AttributeInfo integer(std::string_view name, int64_t fallback) {
  return {name, AttributeType::integer, fallback};
}
AttributeInfo number(std::string_view name) { return {name, AttributeType::number, {}}; }
AttributeInfo number(std::string_view name, double fallback) {
  return {name, AttributeType::number, fallback};
}
AttributeInfo text(std::string_view name) { return {name, AttributeType::text, {}}; }
AttributeInfo text(std::string_view name, std::string fallback) {
  return {name, AttributeType::text, std::move(fallback)};
}

AttributeInfo flag(std::string_view name, bool fallback) {
  return {name, AttributeType::flag, fallback};
}

std::vector<OpInfo> make_table() {
  using enum OperandKind;
#define SINTER_LIST(...) {__VA_ARGS__}
#define SINTER_ROW(name, op_class, operands, attributes, rule, reference)               \
  {Op::name, #name,    OpClass::op_class, SINTER_LIST operands, SINTER_LIST attributes, \
   rule,     reference},
#define SINTER_OP(name, op_class, operands, attributes, rule) \
  SINTER_ROW(name, op_class, operands, attributes, shape_rule::rule, reference::name)
#define SINTER_FORM(name, op_class, operands, attributes, rule) \
  SINTER_ROW(name, op_class, operands, attributes, shape_rule::rule, nullptr)
  return {
#include "ir/ops.def"
  };
}

}  // namespace

size_t OpInfo::least_operands() const {
  return static_cast<size_t>(std::count_if(operands.begin(), operands.end(),
                                           [](const auto& o) { return !o.is_optional; }));
}

Effect OpInfo::effect() const {
  Effect most = Effect::none;
  for (const OperandInfo& operand : operands) {
    if (operand.kind == OperandKind::updated_state) return Effect::updates;
    if (operand.kind == OperandKind::read_state) most = Effect::reads;
  }
  return most;
}

const AttributeInfo* OpInfo::find_attribute(std::string_view attribute) const {
  const auto at = std::find_if(attributes.begin(), attributes.end(),
                               [&](const auto& known) { return known.name == attribute; });
  return at == attributes.end() ? nullptr : &*at;
}

const std::vector<OpInfo>& op_table() {
  static const std::vector<OpInfo> table = make_table();
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
  const std::vector<OperandInfo>& operands = info(op).operands;
  return operand < operands.size() && operands[operand].kind == OperandKind::matrix;
}

}  // namespace sinter::ir
