#include "passes/form_kernels.h"

#include <fmt/format.h>

#include <utility>

#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;

absl::StatusOr<ir::Module> form_kernels(ir::Module module, PassContext& context) {
  constexpr const char* kName = "form_kernels";
  const std::vector<int> uses = ir::count_uses(module);
  for (Node& node : module.nodes) {
    if (node.op == Op::fused) continue;
    std::string kind;
    if (node.op == Op::gather_matmul) {
      kind = "experts";
    } else if (node.op == Op::embed || node.op == Op::top_k || node.op == Op::rope_table ||
               node.op == Op::matmul) {
      kind = ir::info(node.op).name;
    } else if (ir::info(node.op).elementwise || node.op == Op::rms_norm || node.op == Op::slice ||
               node.op == Op::last_rows) {
      kind = "rows";
      context.remarks.push_back(
          {kName, false, node.label,
           fmt::format("[{}] is a phase of its own: nothing absorbed it", ir::info(node.op).name)});
    } else {
      return absl::UnimplementedError(fmt::format(
          "[{}] at \"{}\" has no kernel of its own; run the fusion passes before form_kernels",
          ir::info(node.op).name, node.label));
    }
    std::string label = node.label;
    node = make_fused(std::move(kind), std::move(label), {node}, uses);
  }
  return module;
}

}  // namespace sinter::passes
