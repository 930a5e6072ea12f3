#include "passes/rewrite.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

void replace_in(std::vector<ValueId>& uses, const std::map<ValueId, ValueId>& replaced) {
  for (ValueId& id : uses)
    if (const auto at = replaced.find(id); at != replaced.end()) id = at->second;
}

void replace_in(std::vector<Node>& nodes, const std::map<ValueId, ValueId>& replaced) {
  for (Node& node : nodes) {
    replace_in(node.operands, replaced);
    replace_in(node.body, replaced);
  }
}

bool updates_state(const Node& node) {
  return ir::info(node.op).effect() == ir::Effect::updates ||
         std::any_of(node.body.begin(), node.body.end(), updates_state);
}

}  // namespace

void replace_uses(ir::Module& module, const std::map<ValueId, ValueId>& replaced) {
  replace_in(module.nodes, replaced);
  replace_in(module.returns, replaced);
  for (ir::Entry& entry : module.further) replace_in(entry.returns, replaced);
}

void erase_nodes(ir::Module& module, const std::vector<bool>& taken) {
  std::vector<ir::Node> left;
  for (size_t i = 0; i < module.nodes.size(); ++i)
    if (!taken[i]) left.push_back(std::move(module.nodes[i]));
  module.nodes = std::move(left);
}

void erase_dead(ir::Module& module) {
  std::vector<int> uses = ir::count_uses(module);
  std::vector<Node> kept;
  for (auto node = module.nodes.rbegin(); node != module.nodes.rend(); ++node) {
    const bool used = std::any_of(node->results.begin(), node->results.end(),
                                  [&](ValueId id) { return uses[static_cast<size_t>(id)] > 0; });
    if (used || updates_state(*node)) {
      kept.push_back(std::move(*node));
      continue;
    }
    for (const ValueId id : node->operands) --uses[static_cast<size_t>(id)];
    for (const Node& inner : node->body)
      for (const ValueId id : inner.operands) --uses[static_cast<size_t>(id)];
  }
  std::reverse(kept.begin(), kept.end());
  module.nodes = std::move(kept);
  std::erase_if(module.weights,
                [&](const auto& weight) { return uses[static_cast<size_t>(weight.first)] == 0; });
}

std::vector<ValueId> leaving_values(const std::vector<Node>& body, const std::vector<int>& uses) {
  std::vector<ValueId> leaving;
  for (const Node& node : body)
    for (const ValueId id : node.results) {
      int inside = 0;
      for (const Node& other : body)
        inside += static_cast<int>(std::count(other.operands.begin(), other.operands.end(), id));
      if (uses[static_cast<size_t>(id)] > inside) leaving.push_back(id);
    }
  return leaving;
}

bool is_product(const Node& node) { return node.op == Op::matmul || node.op == Op::gather_matmul; }

void sink_rows(ir::Module& module) {
  std::map<ValueId, Node> waiting;  // by its result
  std::vector<Node> nodes;
  const std::function<void(const std::vector<ValueId>&)> place =
      [&](const std::vector<ValueId>& needed) {
        for (const ValueId id : needed) {
          const auto found = waiting.find(id);
          if (found == waiting.end()) continue;
          Node node = std::move(found->second);
          waiting.erase(found);
          place(node.operands);
          nodes.push_back(std::move(node));
        }
      };
  for (Node& node : module.nodes) {
    if (ir::region_rule::on_rows(node.op) && !updates_state(node)) {
      const ValueId result = node.results[0];
      waiting.emplace(result, std::move(node));
      continue;
    }
    place(ir::inputs_of(node));
    nodes.push_back(std::move(node));
  }
  place(module.returns);
  for (const ir::Entry& entry : module.further) place(entry.returns);
  module.nodes = std::move(nodes);
}

void form_products(ir::Module& module) {
  const std::vector<int> uses = ir::count_uses(module);
  for (Node& node : module.nodes) {
    if (!is_product(node)) continue;
    const auto kind = node.op == Op::matmul ? ir::RegionKind::matmul : ir::RegionKind::experts;
    const std::string label = node.label;
    std::vector<Node> body = {std::move(node)};
    node = make_fused(kind, label, std::move(body), uses);
  }
}

std::vector<Node*> products_of(Node& group) {
  std::vector<Node*> products;
  for (Node& node : group.body)
    if (is_product(node)) products.push_back(&node);
  return products;
}

std::vector<const Node*> products_of(const Node& group) {
  std::vector<const Node*> products;
  for (const Node& node : group.body)
    if (is_product(node)) products.push_back(&node);
  return products;
}

Node make_fused(ir::RegionKind kind, std::string label, std::vector<Node> body,
                const std::vector<int>& uses) {
  Node fused;
  fused.op = Op::fused;
  fused.attributes["kind"] = std::string(ir::region(kind).name);
  fused.label = std::move(label);
  fused.results = leaving_values(body, uses);
  fused.body = std::move(body);
  return fused;
}

void form_phase(ir::Module& module, PassContext& context, const char* pass, ir::RegionKind kind,
                size_t at, const std::set<size_t>& members, const std::vector<int>& uses,
                std::vector<bool>& taken) {
  std::vector<Node> body;
  std::vector<std::string_view> names;
  std::vector<std::string> labels;
  int64_t saved = 0;
  for (const size_t member : members) {
    const Node& node = module.nodes[member];
    names.push_back(ir::info(node.op).name);
    if (is_product(node)) labels.push_back(node.label);
    if (member != at) saved += ir::row_bytes(module, node.results[0]);
    taken[member] = member != at;
    body.push_back(node);
  }
  const std::string label = fmt::format("{}", fmt::join(labels, "|"));
  context.remarks.push_back({pass, true, label,
                             fmt::format("one phase for {}", fmt::join(names, ", ")), saved,
                             static_cast<int64_t>(members.size()) - 1});
  module.nodes[at] = make_fused(kind, label, std::move(body), uses);
}

}  // namespace sinter::passes
