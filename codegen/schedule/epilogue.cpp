#include "codegen/schedule/epilogue.h"

#include "ir/ops.h"

namespace sinter::codegen {

ElementwiseCode::ElementwiseCode(const ir::Module& module, const std::vector<ir::Node>& nodes,
                                 Leaf leaf, Emitter& setup,
                                 std::function<Buffer(ir::ValueId)> buffer, std::string row)
    : module_(module),
      nodes_(nodes),
      leaf_(std::move(leaf)),
      setup_(setup),
      buffer_(std::move(buffer)),
      row_(std::move(row)) {}

absl::StatusOr<std::string> ElementwiseCode::evaluate(ir::ValueId value, int64_t offset) {
  if (const auto found = known_.find({value, offset}); found != known_.end()) return found->second;
  if (std::string special = leaf_(value, offset); !special.empty()) return special;

  const ir::Node* node = ir::find_definition(nodes_, value);
  if (node != nullptr && node->op == ir::Op::slice)
    return evaluate(node->operands[0], offset + node->integer("begin", 0));

  std::string expression;
  if (node != nullptr) {
    if (!ir::is_elementwise(node->op))
      return absl::UnimplementedError(fmt::format("[{}] at \"{}\" cannot be computed lane by lane",
                                                  ir::info(node->op).name, node->label));
    std::string operands;
    for (const ir::ValueId operand : node->operands) {
      auto code = evaluate(operand, offset);
      if (!code.ok()) return code.status();
      operands += (operands.empty() ? "" : ", ") + *code;
    }
    for (const ir::AttributeInfo& attribute : ir::info(node->op).attributes)
      operands += ", " + float_literal(node->number(attribute.name));
    expression = fmt::format("{}({})", ir::info(node->op).name, operands);
  } else {
    auto found = pointers_.find(value);
    if (found == pointers_.end()) {
      const std::string name = fmt::format("in{}", pointers_.size());
      const Buffer buffer =
          module_.is_weight(value) ? Buffer{Buffer::Kind::weight, value, 0} : buffer_(value);
      const std::string type = fmt::format(
          "const {}", c_type(module_.is_weight(value) ? module_.weight(value).format.scale_type
                                                      : ir::DType::f32));
      setup_.line("{}* {} = {};", type, name, setup_.pointer(buffer, type));
      found = pointers_.emplace(value, name).first;
    }
    const std::string column = offset == 0 ? "col" : fmt::format("col + {}", offset);
    expression = module_.is_weight(value)
                     ? fmt::format("load({} + {})", found->second, column)
                     : fmt::format("load({} + {} * {} + {})", found->second, row_,
                                   module_.tensor(value).shape.back().value, column);
  }
  std::string name = fmt::format("v{}", known_.size());
  statements_.push_back(fmt::format("const Lanes {} = {};", name, expression));
  known_[{value, offset}] = name;
  return name;
}

}  // namespace sinter::codegen
