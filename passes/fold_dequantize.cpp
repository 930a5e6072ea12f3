#include "passes/fold_dequantize.h"

#include <fmt/format.h>

#include <map>

#include "passes/rewrite.h"

namespace sinter::passes {

absl::StatusOr<ir::Module> fold_dequantize(ir::Module module, PassContext& context) {
  constexpr const char* kName = "fold_dequantize";
  std::map<ir::ValueId, ir::ValueId> packed;  // dequantized value -> weight
  for (ir::Node& node : module.nodes) {
    if (node.op == ir::Op::dequantize) {
      packed[node.results[0]] = node.operands[0];
      continue;
    }
    for (size_t i = 0; i < node.operands.size(); ++i) {
      const auto found = packed.find(node.operands[i]);
      if (found == packed.end()) continue;
      const bool reads_packed = ir::is_matrix_operand(node.op, i);
      const ir::WeightType& type = module.weight(found->second);
      if (!reads_packed) {
        context.remarks.push_back(
            {kName, false, module.value(found->second).name,
             fmt::format("[{}] has no form that reads packed weights", ir::info(node.op).name)});
        continue;
      }
      node.operands[i] = found->second;
      context.remarks.push_back({kName, true, module.value(found->second).name,
                                 fmt::format("[{}] reads {} as stored", ir::info(node.op).name,
                                             ir::to_string(type.format)),
                                 type.elements() * 4 - type.packed_bytes(), 1});
    }
  }
  erase_dead(module);
  return module;
}

}  // namespace sinter::passes
