#include "passes/fold_dequantize.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "passes/rewrite.h"

namespace sinter::passes {
namespace {

// Kernels sum the products of at least 16 columns before they scale them.
bool has_packed_kernel(const ir::WeightType& type) {
  return type.format.group % 16 == 0 || type.format.group == type.cols();
}

}  // namespace

absl::StatusOr<ir::Module> fold_dequantize(ir::Module module, PassContext& context) {
  constexpr const char* kName = "fold_dequantize";
  std::map<ir::ValueId, ir::ValueId> packed;  // dequantized value -> weight
  std::set<ir::ValueId> unpacked;             // weights that become numbers in float32
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
      if (!has_packed_kernel(type)) {
        context.remarks.push_back(
            {kName, false, module.value(found->second).name,
             fmt::format("[{}] reads {} as float32: it has groups of {} columns, and kernels read "
                         "those of a multiple of 16, or of the whole row",
                         ir::info(node.op).name, ir::to_string(type.format), type.format.group)});
        unpacked.insert(found->second);
        continue;
      }
      context.remarks.push_back({kName, true, module.value(found->second).name,
                                 fmt::format("[{}] reads {} as stored", ir::info(node.op).name,
                                             ir::to_string(type.format)),
                                 type.elements() * 4 - type.packed_bytes(), 1});
    }
  }
  for (const ir::ValueId weight : unpacked)
    module.values[static_cast<size_t>(weight)].type =
        ir::WeightType{module.weight(weight).shape, {}, module.weight(weight).rotated};
  erase_dead(module);
  return module;
}

}  // namespace sinter::passes
