#include "passes/fuse_attention.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

constexpr const char* kName = "fuse_attention";

}  // namespace

absl::StatusOr<ir::Module> fuse_attention(ir::Module module, PassContext& context) {
  const std::vector<int> uses = ir::count_uses(module);
  std::map<ValueId, size_t> definition;
  std::map<ValueId, std::set<size_t>> appends;  // to each state
  for (size_t i = 0; i < module.nodes.size(); ++i) {
    const Node& node = module.nodes[i];
    for (const ValueId id : node.results) definition[id] = i;
    if (node.op == Op::kv_append) appends[node.operands[0]].insert(i);
  }

  std::vector<bool> taken(module.nodes.size(), false);
  for (size_t i = 0; i < module.nodes.size(); ++i) {
    if (module.nodes[i].op != Op::attention) continue;
    std::set<size_t> members = {i};
    // rope, norm, reshape and slice of one head tensor, back to where a phase left it. What is used
    // elsewhere too stays outside.
    const auto take_chain = [&](ValueId value) {
      for (const Op op : {Op::rope, Op::rms_norm, Op::reshape, Op::slice}) {
        const auto found = definition.find(value);
        if (found == definition.end() || module.nodes[found->second].op != op) continue;
        if (uses[static_cast<size_t>(value)] != 1) {
          context.remarks.push_back({kName, false, module.nodes[found->second].label,
                                     fmt::format("[{}] has other users", ir::info(op).name)});
          return;
        }
        members.insert(found->second);
        value = module.nodes[found->second].operands[0];
      }
    };
    take_chain(module.nodes[i].operands[0]);
    std::set<size_t> its_appends = appends[module.nodes[i].operands[1]];
    its_appends.merge(std::set<size_t>(appends[module.nodes[i].operands[2]]));
    for (const size_t j : its_appends) {
      if (j > i || taken[j]) continue;
      members.insert(j);
      take_chain(module.nodes[j].operands[1]);
    }
    std::vector<Node> body;
    std::set<std::string_view> names;
    int64_t launches = 0;
    int64_t saved = 0;
    for (const size_t m : members) {
      const Node& node = module.nodes[m];
      names.insert(ir::info(node.op).name);
      const bool computes = ir::is_by_row(node.op) || ir::is_by_head(node.op);
      if (computes) saved += 2 * ir::row_bytes(module, node.results[0]);
      if (computes || ir::is(node.op, ir::OpClass::state)) ++launches;
      taken[m] = true;
      body.push_back(node);
    }
    const std::string label = module.nodes[i].label;
    module.nodes[i] = make_fused(ir::RegionKind::attention, label, std::move(body), uses);
    taken[i] = false;
    context.remarks.push_back({kName, true, label,
                               fmt::format("one phase for {}", fmt::join(names, ", ")), saved,
                               launches});
  }
  std::vector<Node> nodes;
  for (size_t i = 0; i < module.nodes.size(); ++i)
    if (!taken[i]) nodes.push_back(std::move(module.nodes[i]));
  module.nodes = std::move(nodes);
  return module;
}

}  // namespace sinter::passes
