#include "passes/fuse_prologues.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_prologues";

// A copy of `node` that defines a value of its own.
Node clone(ir::Module& module, const Node& node) {
  Node copy = node;
  copy.results = {module.add_value(module.value(node.results[0]))};
  return copy;
}

}  // namespace

absl::StatusOr<ir::Module> fuse_prologues(ir::Module module, PassContext& context) {
  const std::vector<int> uses = ir::count_uses(module);
  std::map<ValueId, const Node*> definition;
  std::map<ValueId, int> matmul_uses;
  for (const Node& node : module.nodes) {
    for (const ValueId id : node.results) definition[id] = &node;
    if (node.op == Op::matmul) ++matmul_uses[node.operands[0]];
  }
  const auto defined_by = [&](ValueId id, Op op) -> const Node* {
    const auto found = definition.find(id);
    return found != definition.end() && found->second->op == op ? found->second : nullptr;
  };

  std::vector<Node> fused;     // in the order of the products
  std::set<ValueId> absorbed;  // norms that a product has taken
  for (const Node& node : module.nodes) {
    if (node.op != Op::matmul) continue;
    std::vector<Node> body;
    Node product = node;
    const auto take = [&](const Node& source, ValueId& operand) {
      body.insert(body.begin(), clone(module, source));
      operand = body.front().results[0];
    };
    const ValueId input = product.operands[0];
    if (const Node* norm = defined_by(input, Op::rms_norm); norm != nullptr) {
      if (uses[static_cast<size_t>(input)] > matmul_uses[input]) {
        context.remarks.push_back({kName, false, norm->label,
                                   "the norm is also used by something that is not a product"});
      } else {
        // The norm's own phase goes away once, however many products recompute it.
        const bool first = absorbed.insert(input).second;
        take(*norm, product.operands[0]);
        context.remarks.push_back({kName, true, norm->label,
                                   fmt::format("recomputed inside {}", node.label),
                                   first ? 2 * ir::row_bytes(module, input) : 0, first ? 1 : 0});
        const ValueId rows = body.front().operands[0];
        if (const Node* last = defined_by(rows, Op::last_rows); last != nullptr)
          take(*last, body.front().operands[0]);
      }
    } else if (const Node* last = defined_by(input, Op::last_rows); last != nullptr) {
      take(*last, product.operands[0]);
    }
    body.push_back(std::move(product));
    Node group;
    group.op = Op::fused;
    group.attributes["kind"] = std::string(ir::region(ir::RegionKind::matmul).name);
    group.label = node.label;
    group.results = node.results;
    group.body = std::move(body);
    fused.push_back(std::move(group));
  }

  size_t next = 0;
  for (Node& node : module.nodes)
    if (node.op == Op::matmul) node = std::move(fused[next++]);
  erase_dead(module);
  return module;
}

}  // namespace sinter::passes
