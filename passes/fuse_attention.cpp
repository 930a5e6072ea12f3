#include "passes/fuse_attention.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "ir/heads.h"
#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_attention";

class Fuser {
 public:
  Fuser(ir::Module& module, PassContext& context) : module_(module), context_(context) {
    uses_ = ir::count_uses(module);
    taken_.assign(module.nodes.size(), false);
    for (size_t i = 0; i < module.nodes.size(); ++i) {
      const Node& node = module.nodes[i];
      for (const ValueId id : node.results) definition_[id] = i;
      if (node.op == Op::kv_append) appends_[node.operands[0]].insert(i);
    }
  }

  void run() {
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (module_.nodes[i].op == Op::attention) fuse(i);
    erase_nodes(module_, taken_);
    erase_dead(module_);
  }

 private:
  void fuse(size_t i) {
    members_ = {i};
    copied_.clear();
    take_chain(module_.nodes[i].operands[0], ir::HeadsOf::queries_or_keys);
    for (const size_t state : {1, 2})
      for (const size_t j : appends_[module_.nodes[i].operands[state]]) {
        if (j > i || taken_[j] || members_.contains(j)) continue;
        members_.insert(j);
        take_chain(module_.nodes[j].operands[1],
                   state == 1 ? ir::HeadsOf::queries_or_keys : ir::HeadsOf::values);
      }
    std::vector<Node> body;
    std::map<ValueId, ValueId> copies;
    std::set<std::string_view> names;
    int64_t launches = 0;
    int64_t saved = 0;
    for (const size_t m : members_) {
      Node node = module_.nodes[m];
      names.insert(ir::info(node.op).name);
      const bool computes = ir::is_by_row(node.op) || ir::is_by_head(node.op);
      if (computes) saved += 2 * ir::row_bytes(module_, node.results[0]);
      if (computes || ir::is(node.op, ir::OpClass::state)) ++launches;
      for (ValueId& id : node.operands)
        if (const auto copy = copies.find(id); copy != copies.end()) id = copy->second;
      if (copied_.contains(m)) {
        const ValueId copy = module_.add_value(module_.value(node.results[0]));
        copies[node.results[0]] = copy;
        node.results = {copy};
        uses_.resize(module_.values.size(), 1);
      } else {
        taken_[m] = true;
      }
      body.push_back(std::move(node));
    }
    const std::string label = module_.nodes[i].label;
    module_.nodes[i] = make_fused(ir::RegionKind::attention, label, std::move(body), uses_);
    taken_[i] = false;
    context_.remarks.push_back({kName, true, label,
                                fmt::format("one phase for {}", fmt::join(names, ", ")), saved,
                                launches});
  }

  // Views, norm and RoPE of one head tensor, back to where a phase left it. What is computed for
  // others too stays outside; a view of others is copied, since it moves nothing.
  void take_chain(ValueId value, ir::HeadsOf whose) {
    bool shared = false;
    const auto definition = [&](ValueId id) -> const Node* {
      const auto found = definition_.find(id);
      if (found == definition_.end() || taken_[found->second]) return nullptr;
      const Node& node = module_.nodes[found->second];
      if (!ir::region_rule::on_rows(node.op)) return nullptr;
      shared |= uses_[static_cast<size_t>(id)] != 1;
      if (shared && !ir::is_view(node.op)) {
        context_.remarks.push_back({kName, false, node.label,
                                    fmt::format("[{}] has other users", ir::info(node.op).name)});
        return nullptr;
      }
      return &node;
    };
    const ir::HeadSource source = ir::follow_heads(module_, value, whose, definition);
    shared = false;
    for (const Node* node : source.chain) {
      const size_t at = definition_.at(node->results[0]);
      shared |= uses_[static_cast<size_t>(node->results[0])] != 1;
      members_.insert(at);
      if (shared) copied_.insert(at);
    }
    if (!source.stopped.empty())
      context_.remarks.push_back(
          {kName, false, module_.nodes[definition_.at(source.first.base)].label, source.stopped});
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::map<ValueId, size_t> definition_;         // of each value: the position of its node
  std::map<ValueId, std::set<size_t>> appends_;  // to each state
  std::vector<bool> taken_;
  std::set<size_t> members_;  // of the phase that is being made
  std::set<size_t> copied_;   // of them: also used by others
};

}  // namespace

absl::StatusOr<ir::Module> fuse_attention(ir::Module module, PassContext& context) {
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
