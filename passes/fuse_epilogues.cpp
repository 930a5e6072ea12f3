#include "passes/fuse_epilogues.h"

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

constexpr const char* kName = "fuse_epilogues";
constexpr size_t kMaxParts =
    2;  // matrices whose outputs meet in one epilogue: the kernels hold so many tiles

// The parts of the product that an epilogue combines: all slices of equal width that tile it. Empty
// reason when fine.
std::string check_slices(const ir::Module& module, const std::vector<Node>& body) {
  std::set<int64_t> begins;
  int64_t width = 0;
  int64_t total = 0;
  for (const Node& node : body) {
    if (node.op == Op::matmul) total = module.tensor(node.results[0]).shape.back().value;
    if (node.op != Op::slice) continue;
    const int64_t begin = node.integer("begin", 0);
    const int64_t size = node.integer("end", 0) - begin;
    if (width != 0 && size != width) return "its slices have different widths";
    width = size;
    begins.insert(begin);
  }
  if (begins.empty()) return "";
  if (begins.size() > kMaxParts)
    return fmt::format("it has {} slices, an epilogue takes {}", begins.size(), kMaxParts);
  int64_t expected = 0;
  for (const int64_t begin : begins) {
    if (begin != expected) return "its slices do not tile the product";
    expected += width;
  }
  return expected == total ? "" : "its slices do not cover the product";
}

bool may_join(const Node& node) { return ir::is_elementwise(node.op) || node.op == Op::slice; }

}  // namespace

absl::StatusOr<ir::Module> fuse_epilogues(ir::Module module, PassContext& context) {
  const std::vector<int> uses = ir::count_uses(module);
  std::vector<bool> taken(module.nodes.size(), false);
  // Positions of the node that makes a value, and of those that use it. What no node makes is there
  // before all of them.
  std::map<ValueId, size_t> made_at;
  std::map<ValueId, std::vector<size_t>> used_at;
  for (size_t i = 0; i < module.nodes.size(); ++i) {
    for (const ValueId id : module.nodes[i].results) made_at[id] = i;
    for (const ValueId id : module.nodes[i].operands) used_at[id].push_back(i);
  }
  for (size_t i = 0; i < module.nodes.size(); ++i) {
    if (!ir::is_region(module.nodes[i], ir::RegionKind::matmul)) continue;
    Node& group = module.nodes[i];
    std::set<ValueId> inside;
    std::set<size_t> users;  // of what is inside
    const auto add = [&](const Node& node) {
      for (const ValueId id : node.results) {
        inside.insert(id);
        for (const size_t user : used_at[id])
          if (user > i) users.insert(user);
      }
    };
    for (const Node& node : group.body) add(node);
    // Whether a value is there before the phase runs, or made in it.
    const auto is_known = [&](ValueId id) {
      if (inside.contains(id)) return true;
      const auto made = made_at.find(id);
      return made == made_at.end() || (made->second < i && !taken[made->second]);
    };

    // All that could join, in order.
    std::vector<size_t> candidates;
    for (auto user = users.begin(); user != users.end(); ++user) {
      const Node& node = module.nodes[*user];
      if (taken[*user] || !may_join(node)) continue;
      if (!std::all_of(node.operands.begin(), node.operands.end(), is_known)) continue;
      candidates.push_back(*user);
      add(node);
    }
    // The most of them that leave one value behind. What stood against the first try is the reason
    // given when there is none.
    std::string refused;
    const auto refuse = [&](std::string why) {
      if (refused.empty()) refused = std::move(why);
    };
    for (size_t count = candidates.size(); count > 0; --count) {
      std::vector<Node> body = group.body;
      for (size_t k = 0; k < count; ++k) body.push_back(module.nodes[candidates[k]]);
      if (const size_t leaving = leaving_values(body, uses).size(); leaving != 1) {
        refuse(fmt::format("{} values would leave the phase, an epilogue leaves one", leaving));
        continue;
      }
      if (std::string why = check_slices(module, body); !why.empty()) {
        refuse(std::move(why));
        continue;
      }
      std::vector<std::string_view> joined;
      int64_t saved = 0;
      int64_t launches = 0;
      for (size_t k = 0; k < count; ++k) {
        const Node& node = module.nodes[candidates[k]];
        joined.push_back(ir::info(node.op).name);
        if (ir::is_elementwise(node.op)) {
          saved += 2 * ir::row_bytes(module, node.results[0]);
          ++launches;
        }
        taken[candidates[k]] = true;
      }
      context.remarks.push_back({kName, true, group.label,
                                 fmt::format("{} on the accumulators", fmt::join(joined, ", ")),
                                 saved, launches});
      group.results = leaving_values(body, uses);
      for (const ValueId id : group.results) made_at[id] = i;
      group.body = std::move(body);
      refused.clear();
      break;
    }
    if (!refused.empty()) context.remarks.push_back({kName, false, group.label, refused});
  }
  std::vector<Node> nodes;
  for (size_t i = 0; i < module.nodes.size(); ++i)
    if (!taken[i]) nodes.push_back(std::move(module.nodes[i]));
  module.nodes = std::move(nodes);
  return module;
}

}  // namespace sinter::passes
