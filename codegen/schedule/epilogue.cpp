#include "codegen/schedule/epilogue.h"

#include "ir/ops.h"

namespace sinter::codegen {

absl::StatusOr<std::string> ElementwiseCode::evaluate(ir::ValueId value, const ir::Runs& at) {
  const Place place = {value, at.offset(), at.length(), *at.stride()};
  if (const auto found = known_.find(place); found != known_.end()) return found->second;
  auto special = scope_.leaf(value, at);
  if (!special.ok() || !special->empty()) return special;

  const ir::Node* node = ir::find_definition(scope_.nodes, value);
  if (node != nullptr && ir::is_view(node->op)) {
    const auto columns = ir::operand_columns(scope_.module, *node, at, scope_.row_of);
    if (!columns.ok()) return columns.status();
    return evaluate(node->operands[0], *columns);
  }
  std::string expression;
  if (node == nullptr) {
    expression = load(value, at);
  } else {
    auto applied = apply(*node, at);
    if (!applied.ok()) return applied.status();
    expression = *std::move(applied);
  }
  std::string name = fmt::format("v{}", known_.size());
  statements_.push_back(fmt::format("const Lanes {} = {};", name, expression));
  known_[place] = name;
  return name;
}

absl::StatusOr<std::string> ElementwiseCode::apply(const ir::Node& node, const ir::Runs& at) {
  if (!ir::is_elementwise(node.op))
    return absl::UnimplementedError(fmt::format("[{}] at \"{}\" cannot be computed lane by lane",
                                                ir::info(node.op).name, node.label));
  std::string operands;
  for (const ir::ValueId operand : node.operands) {
    auto code = evaluate(operand, at);
    if (!code.ok()) return code.status();
    operands += (operands.empty() ? "" : ", ") + *code;
  }
  for (const ir::AttributeInfo& attribute : ir::info(node.op).attributes)
    operands += ", " + float_literal(node.number(attribute.name));
  return fmt::format("{}({})", ir::info(node.op).name, operands);
}

std::string ElementwiseCode::load(ir::ValueId value, const ir::Runs& at) {
  const ir::Module& module = scope_.module;
  const bool is_weight = module.is_weight(value);
  auto found = pointers_.find(value);
  if (found == pointers_.end()) {
    const std::string name = fmt::format("{}{}", scope_.prefix, pointers_.size());
    const Buffer buffer = is_weight ? Buffer{Buffer::Kind::weight, value, 0} : scope_.buffer(value);
    const std::string type = fmt::format(
        "const {}", c_type(is_weight ? module.weight(value).format.scale_type : ir::DType::f32));
    setup_.line("{}* {} = {};", type, name, setup_.pointer(buffer, type));
    found = pointers_.emplace(value, name).first;
  }
  std::string from = found->second;
  if (scope_.row_of == ir::RowOf::run) return load_run(value, from, at);
  if (!is_weight)
    from +=
        fmt::format(" + {} * {}", scope_.row(value), ir::row_length(module, value, scope_.row_of));
  if (at.stride() != at.length()) {
    const std::string offset = at.offset() == 0 ? "" : fmt::format(" + {}", at.offset());
    return fmt::format("load_runs<{}, {}>({}{}, col, n)", at.length(), *at.stride(), from, offset);
  }
  return at.offset() == 0 ? fmt::format("load({} + col)", from)
                          : fmt::format("load({} + col + {})", from, at.offset());
}

// Columns of the run of a row. A vector is of a head, or of all that belongs to a token.
std::string ElementwiseCode::load_run(ir::ValueId value, const std::string& from,
                                      const ir::Runs& at) const {
  const ir::Module& module = scope_.module;
  const bool is_weight = module.is_weight(value);
  if (is_weight && module.weight(value).elements() == at.length())
    return fmt::format("load({} + col)", from);
  const std::string row = scope_.row(value);
  const std::string run =
      at.offset() == 0
          ? fmt::format("{} % {} * {}", row, at.count(), *at.stride())
          : fmt::format("{} + {} % {} * {}", at.offset(), row, at.count(), *at.stride());
  if (is_weight) return fmt::format("load({} + {} + col)", from, run);
  return fmt::format("load({} + {} / {} * {} + {} + col)", from, row, at.count(),
                     ir::row_elements(module, value), run);
}

}  // namespace sinter::codegen
