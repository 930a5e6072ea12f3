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

// Work on what a product gives, lane by lane. Of experts there is a row for each choice, until they
// are summed.
bool may_join(const ir::Module& module, const Node& group, const Node& node) {
  if (!ir::is_region(group, ir::RegionKind::experts))
    return ir::is_elementwise(node.op) || node.op == Op::slice;
  if (node.op == Op::weighted_sum || node.op == Op::gather_rows) return true;
  // Where each token has one choice, its row is the token's.
  if (node.op == Op::reshape) {
    const auto& rows = module.tensor(node.operands[0]).shape;
    const auto& token = module.tensor(node.results[0]).shape;
    return rows.size() == 3 && rows[1] == ir::Dim(1) && token.size() == 2;
  }
  const bool of_choices = module.tensor(node.results[0]).shape.size() == 3;
  return ir::is_elementwise(node.op) &&
         !(of_choices && node.operands.size() > 1 && module.is_weight(node.operands[1]));
}

// The numbers of the experts that a phase multiplies with.
ValueId experts_of(const Node& group) {
  return std::find_if(group.body.begin(), group.body.end(),
                      [](const Node& node) { return node.op == Op::gather_matmul; })
      ->operands[1];
}

class Fuser {
 public:
  Fuser(ir::Module& module, PassContext& context)
      : module_(module), context_(context), uses_(ir::count_uses(module)) {
    taken_.assign(module.nodes.size(), false);
    for (size_t i = 0; i < module.nodes.size(); ++i) {
      for (const ValueId id : module.nodes[i].results) made_at_[id] = i;
      for (const ValueId id : module.nodes[i].operands) used_at_[id].push_back(i);
    }
  }

  void run() {
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (ir::is_region(module_.nodes[i], ir::RegionKind::matmul) ||
          ir::is_region(module_.nodes[i], ir::RegionKind::experts))
        fuse(i);
    erase_nodes(module_, taken_);
  }

 private:
  // An epilogue leaves one value; it consists of the candidates that this one is made of. Of those
  // that can be, the largest is taken. What stands against the largest is the reason given when
  // there is none.
  void fuse(size_t i) {
    Node& group = module_.nodes[i];
    std::vector<size_t> best;
    size_t largest = 0;
    std::string refused;
    for (const auto& [candidate, members] : candidates(i)) {
      const std::string why = refusal(group, members);
      if (why.empty() && members.size() >= best.size()) best = members;
      if (!why.empty() && members.size() > largest) {
        largest = members.size();
        refused = why;
      }
    }
    if (best.empty()) {
      if (!refused.empty()) context_.remarks.push_back({kName, false, group.label, refused});
      return;
    }
    take(i, best);
  }

  // What could join, in order, each with all that must join with it.
  std::map<size_t, std::vector<size_t>> candidates(size_t i) const {
    std::map<size_t, std::vector<size_t>> found;
    std::set<ValueId> inside;
    std::set<size_t> users;
    const auto add = [&](const Node& node) {
      for (const ValueId id : node.results) {
        inside.insert(id);
        if (const auto used = used_at_.find(id); used != used_at_.end())
          for (const size_t user : used->second)
            if (user > i) users.insert(user);
      }
    };
    for (const Node& node : module_.nodes[i].body) add(node);
    // Rows of experts are for those that the products are with.
    if (ir::is_region(module_.nodes[i], ir::RegionKind::experts))
      if (const auto used = used_at_.find(experts_of(module_.nodes[i])); used != used_at_.end())
        for (const size_t user : used->second)
          if (user > i && module_.nodes[user].op == Op::gather_rows) users.insert(user);
    // Whether a value is there before the phase runs, or made in it.
    const auto is_known = [&](ValueId id) {
      if (inside.contains(id)) return true;
      const auto made = made_at_.find(id);
      return made == made_at_.end() || (made->second < i && !taken_[made->second]);
    };
    for (auto user = users.begin(); user != users.end(); ++user) {
      const Node& node = module_.nodes[*user];
      if (taken_[*user] || !may_join(module_, module_.nodes[i], node)) continue;
      if (!std::all_of(node.operands.begin(), node.operands.end(), is_known)) continue;
      std::set<size_t> members = {*user};
      for (const ValueId id : node.operands) {
        const auto made = made_at_.find(id);
        if (made == made_at_.end()) continue;
        if (const auto other = found.find(made->second); other != found.end())
          members.insert(other->second.begin(), other->second.end());
        if (is_column_for_it_alone(made->second)) members.insert(made->second);
      }
      found[*user].assign(members.begin(), members.end());
      add(node);
    }
    return found;
  }

  // Whether a node before the phase puts one column in the place of many for one reader, which then
  // reads the column.
  bool is_column_for_it_alone(size_t at) const {
    const Node& node = module_.nodes[at];
    return node.op == Op::expand && !taken_[at] && uses_[static_cast<size_t>(node.results[0])] == 1;
  }

  std::vector<Node> body_with(const Node& group, const std::vector<size_t>& members) const {
    std::vector<Node> body = group.body;
    for (const size_t member : members) body.push_back(module_.nodes[member]);
    return body;
  }

  // Why these cannot become the epilogue; empty if they can.
  std::string refusal(const Node& group, const std::vector<size_t>& members) const {
    const std::vector<Node> body = body_with(group, members);
    if (const size_t leaving = leaving_values(body, uses_).size(); leaving != 1)
      return fmt::format("{} values would leave the phase, an epilogue leaves one", leaving);
    return check_slices(module_, body);
  }

  void take(size_t i, const std::vector<size_t>& members) {
    Node& group = module_.nodes[i];
    std::vector<std::string_view> joined;
    int64_t saved = 0;
    int64_t launches = 0;
    for (const size_t member : members) {
      const Node& node = module_.nodes[member];
      joined.push_back(ir::info(node.op).name);
      if (ir::is_elementwise(node.op)) {
        saved += 2 * ir::row_bytes(module_, node.results[0]);
        ++launches;
      }
      taken_[member] = true;
    }
    context_.remarks.push_back({kName, true, group.label,
                                fmt::format("{} on the accumulators", fmt::join(joined, ", ")),
                                saved, launches});
    group.body = body_with(group, members);
    group.results = leaving_values(group.body, uses_);
    for (const ValueId id : group.results) made_at_[id] = i;
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<bool> taken_;
  // Positions of the node that makes a value, and of those that use it. What no node makes is there
  // before all of them.
  std::map<ValueId, size_t> made_at_;
  std::map<ValueId, std::vector<size_t>> used_at_;
};

}  // namespace

absl::StatusOr<ir::Module> fuse_epilogues(ir::Module module, PassContext& context) {
  form_products(module);
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
