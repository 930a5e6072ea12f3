#include "passes/form_kernels.h"

#include <fmt/format.h>

#include <algorithm>
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
    const auto* const region =
        std::find_if(ir::kRegions.begin(), ir::kRegions.end(),
                     [&](const ir::Region& known) { return known.alone(node.op); });
    if (region == ir::kRegions.end()) {
      return absl::UnimplementedError(fmt::format(
          "[{}] at \"{}\" has no kernel of its own; run the fusion passes before form_kernels",
          ir::info(node.op).name, node.label));
    }
    if (region->kind == ir::RegionKind::rows) {
      context.remarks.push_back(
          {kName, false, node.label,
           fmt::format("[{}] is a phase of its own: nothing absorbed it", ir::info(node.op).name)});
    }
    std::string label = node.label;
    node = make_fused(region->kind, std::move(label), {node}, uses);
  }
  return module;
}

}  // namespace sinter::passes
