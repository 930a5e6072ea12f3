#include "passes/fuse_routers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_routers";

class Fuser {
 public:
  Fuser(ir::Module& module, PassContext& context)
      : module_(module), context_(context), uses_(ir::count_uses(module)) {
    taken_.assign(module.nodes.size(), false);
    for (size_t i = 0; i < module.nodes.size(); ++i)
      for (const ValueId id : module.nodes[i].results) made_at_[id] = i;
  }

  void run() {
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (module_.nodes[i].op == Op::top_k) router(i);
    erase_nodes(module_, taken_);
  }

 private:
  static bool is_row_work(const Node& node) {
    return ir::is_elementwise(node.op) || ir::is_by_row(node.op);
  }

  // The product whose rows top_k chooses among, through work on whole rows; or -1.
  int64_t product_behind(size_t choice) const {
    std::vector<ValueId> open = {module_.nodes[choice].operands[0]};
    while (!open.empty()) {
      const auto made = made_at_.find(open.back());
      open.pop_back();
      if (made == made_at_.end()) continue;
      const Node& node = module_.nodes[made->second];
      if (node.op == Op::matmul && !taken_[made->second] && module_.is_weight(node.operands[1]))
        return static_cast<int64_t>(made->second);
      if (is_row_work(node)) open.insert(open.end(), node.operands.begin(), node.operands.end());
    }
    return -1;
  }

  void router(size_t choice) {
    const int64_t product = product_behind(choice);
    if (product < 0) {
      context_.remarks.push_back({kName, false, module_.nodes[choice].label,
                                  "what [top_k] chooses among is no row of a product"});
      return;
    }
    // All that is computed from the product's row alone, in order.
    std::set<size_t> members = {static_cast<size_t>(product)};
    std::set<ValueId> inside = {module_.nodes[static_cast<size_t>(product)].results[0]};
    for (size_t i = static_cast<size_t>(product) + 1; i < module_.nodes.size(); ++i) {
      const Node& node = module_.nodes[i];
      const bool joins = is_row_work(node) || ir::is_of_columns(node.op) || i == choice;
      if (!joins || taken_[i]) continue;
      if (!std::all_of(node.operands.begin(), node.operands.end(), [&](ValueId id) {
            return inside.contains(id) || (module_.is_weight(id) && i != choice);
          }))
        continue;
      members.insert(i);
      inside.insert(node.results[0]);
    }
    std::vector<Node> body;
    for (const size_t member : members) body.push_back(module_.nodes[member]);
    const ValueId columns = module_.nodes[choice].results[0];
    const ir::Dim chosen = module_.tensor(columns).shape[1];
    for (const ValueId id : leaving_values(body, uses_)) {
      if (id == columns || module_.tensor(id).shape[1] == chosen) continue;
      const Node& made = *ir::find_definition(body, id);
      context_.remarks.push_back(
          {kName, false, made.label,
           fmt::format("[{}] of the router's row is read by others than its choice",
                       ir::info(made.op).name)});
      return;
    }
    const auto at = static_cast<size_t>(product);
    form_phase(module_, context_, kName, ir::RegionKind::router, at, members, uses_, taken_);
    for (const ValueId id : module_.nodes[at].results) made_at_[id] = at;
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<bool> taken_;
  std::map<ValueId, size_t> made_at_;  // of each value: the position of its node
};

}  // namespace

absl::StatusOr<ir::Module> fuse_routers(ir::Module module, PassContext& context) {
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
