#include "passes/join_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::ValueId;

namespace {

constexpr const char* kName = "join_products";

// Why the products of two phases are not one phase; empty when they can be.
std::string refusal(const ir::Module& module, const Node& first, const Node& other,
                    const std::map<ValueId, size_t>& made_at, size_t position) {
  const auto format = [&](const Node& group) {
    return module.weight(products_of(group)[0]->operands[1]).format;
  };
  for (const Node* group : {&first, &other})
    if (!module.is_weight(products_of(*group)[0]->operands[1])) return "its weight is dequantized";
  if (!(format(first) == format(other)))
    return fmt::format("format is {}, but {} has {}", ir::to_string(format(other)), first.label,
                       ir::to_string(format(first)));
  for (const ValueId id : ir::inputs_of(other))
    if (const auto made = made_at.find(id); made != made_at.end() && made->second >= position)
      return fmt::format("it needs what is computed after {}", first.label);
  return "";
}

}  // namespace

absl::StatusOr<ir::Module> join_products(ir::Module module, PassContext& context) {
  form_products(module);
  std::map<ValueId, size_t> made_at;
  std::map<ValueId, std::vector<size_t>> by_input;  // phases that multiply it
  for (size_t i = 0; i < module.nodes.size(); ++i) {
    const Node& node = module.nodes[i];
    for (const ValueId id : node.results) made_at[id] = i;
    if (ir::is_region(node, ir::RegionKind::matmul))
      by_input[products_of(node)[0]->operands[0]].push_back(i);
  }
  std::vector<bool> joined(module.nodes.size(), false);
  for (const auto& [input, groups] : by_input) {
    Node& first = module.nodes[groups[0]];
    for (size_t i = 1; i < groups.size(); ++i) {
      Node& other = module.nodes[groups[i]];
      if (std::string why = refusal(module, first, other, made_at, groups[0]); !why.empty()) {
        context.remarks.push_back({kName, false, other.label, std::move(why)});
        continue;
      }
      context.remarks.push_back(
          {kName, true, other.label,
           fmt::format("in one phase with {}: both multiply the same rows", first.label),
           ir::row_bytes(module, input), 1});
      first.label += " + " + other.label;
      std::move(other.body.begin(), other.body.end(), std::back_inserter(first.body));
      first.results.insert(first.results.end(), other.results.begin(), other.results.end());
      joined[groups[i]] = true;
    }
  }
  std::vector<Node> nodes;
  for (size_t i = 0; i < module.nodes.size(); ++i)
    if (!joined[i]) nodes.push_back(std::move(module.nodes[i]));
  module.nodes = std::move(nodes);
  return module;
}

}  // namespace sinter::passes
