#include "passes/fuse_recurrences.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "ir/rows.h"
#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_recurrences";
// Tensors and vectors that the phase reads: it has 16 arguments at most, of which the state, what
// the rule gives, counters and the result are others.
constexpr size_t kMostBuffers = 11;

struct Recurrence {
  Op op;
  ir::RegionKind kind;
  // Its first operand and its result are read by single channels: no norm of a head is among what
  // the phase does with them.
  bool by_channel;
};
constexpr Recurrence kRecurrences[] = {
    {Op::delta_rule, ir::RegionKind::delta, false},
    {Op::selective_scan, ir::RegionKind::scan, true},
};
const Recurrence* find_recurrence(Op op) {
  const auto* found = std::ranges::find(kRecurrences, op, &Recurrence::op);
  return found == std::end(kRecurrences) ? nullptr : found;
}

class Fuser {
 public:
  Fuser(ir::Module& module, PassContext& context)
      : module_(module), context_(context), uses_(ir::count_uses(module)) {
    taken_.assign(module.nodes.size(), false);
    for (size_t i = 0; i < module.nodes.size(); ++i) {
      for (const ValueId id : module.nodes[i].results) made_at_[id] = i;
      for (const ValueId id : module.nodes[i].operands) user_[id] = i;
    }
  }

  void run() {
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (const Recurrence* known = find_recurrence(module_.nodes[i].op)) fuse(i, *known);
    erase_nodes(module_, taken_);
    erase_dead(module_);
  }

 private:
  // What a phase consists of so far: positions of nodes.
  struct Members {
    std::set<size_t> all;
    std::set<size_t> copied;  // views that others read, too
  };
  // How a value is read: as the heads of a tensor, or by columns of a token's row.
  struct Read {
    ir::RowOf row;
    ir::Runs at;
  };

  void fuse(size_t i, const Recurrence& known) {
    Members members;
    members.all = {i};
    const Node& rule = module_.nodes[i];
    for (const ValueId value : rule.operands) {
      if (module_.is_weight(value) || module_.is_state(value)) continue;
      Members with_it = members;
      take(value, read_of(value, known.by_channel && value == rule.operands[0]), false, with_it);
      accept(std::move(with_it), i, members);
    }
    take_behind(i, read_of(rule.results[0], known.by_channel), members);
    form(i, known.kind, members);
  }

  // Larger unless the phase would have too many arguments.
  void accept(Members with_it, size_t i, Members& members) {
    if (inputs_of(with_it).size() <= kMostBuffers) {
      members = std::move(with_it);
      return;
    }
    context_.remarks.push_back({kName, false, module_.nodes[i].label,
                                fmt::format("the phase would read {} tensors and vectors, it has "
                                            "room for {}",
                                            inputs_of(with_it).size(), kMostBuffers)});
  }

  std::set<ValueId> inputs_of(const Members& members) const {
    std::set<ValueId> inputs;
    for (const size_t m : members.all)
      for (const ValueId id : module_.nodes[m].operands) {
        const auto made = made_at_.find(id);
        if (!module_.is_state(id) &&
            (made == made_at_.end() || !members.all.contains(made->second)))
          inputs.insert(id);
      }
    return inputs;
  }

  Read read_of(ValueId value, bool by_channel) const {
    const auto& shape = module_.tensor(value).shape;
    if (shape.size() == 3 && !by_channel)
      return {ir::RowOf::run, ir::Runs(shape[1].value, shape[2].value)};
    return {ir::RowOf::token, ir::Runs(1, ir::row_elements(module_, value))};
  }

  // Goes back from a value, as long as it is work that is done for this phase alone, head by head,
  // or of gates column by column. A view of others is copied, since it moves nothing.
  void take(ValueId value, const Read& read, bool shared, Members& members) {
    const auto made = made_at_.find(value);
    if (made == made_at_.end() || taken_[made->second]) return;
    const Node& node = module_.nodes[made->second];
    const bool view = ir::is_view(node.op);
    if (!view && !ir::is_elementwise(node.op) && !ir::is_by_row(node.op)) return;
    shared |= uses_[static_cast<size_t>(value)] != 1;
    if (shared && !view)
      return refuse(node, fmt::format("[{}] has other users", ir::info(node.op).name));
    if (read.row == ir::RowOf::token && ir::is_by_row(node.op)) return refuse_row(node);
    const auto columns = ir::operand_columns(module_, node, read.at, read.row);
    if (!columns.ok()) return refuse(node, std::string(columns.status().message()));
    members.all.insert(made->second);
    if (shared) members.copied.insert(made->second);
    for (const ValueId id : node.operands)
      if (!module_.is_weight(id)) take(id, {read.row, *columns}, shared, members);
  }

  void refuse_row(const Node& node) {
    refuse(node, fmt::format("[{}] is of a whole row, not of a head", ir::info(node.op).name));
  }
  void refuse(const Node& node, std::string why) {
    if (!ir::is_view(node.op) && refused_.insert(node.results[0]).second)
      context_.remarks.push_back({kName, false, node.label, std::move(why)});
  }

  // Goes on from what the rule gives, as long as one node reads it and computes heads from heads.
  // The rule moves down to the last of them: nothing else may touch its state.
  void take_behind(size_t i, const Read& heads, Members& members) {
    const Node& rule = module_.nodes[i];
    for (const ValueId id : rule.operands)
      if (module_.is_state(id) && uses_[static_cast<size_t>(id)] != 1) return;
    ValueId value = rule.results[0];
    while (uses_[static_cast<size_t>(value)] == 1 && user_.contains(value)) {
      const size_t at = user_.at(value);
      const Node& node = module_.nodes[at];
      const bool same =
          node.op == Op::reshape || ir::is_elementwise(node.op) || ir::is_by_row(node.op);
      if (!same || taken_[at]) return;
      if (heads.row == ir::RowOf::token && ir::is_by_row(node.op)) return refuse_row(node);
      if (const auto columns = ir::operand_columns(module_, node, heads.at, heads.row);
          !columns.ok())
        return refuse(node, std::string(columns.status().message()));
      Members with_it = members;
      with_it.all.insert(at);
      for (const ValueId id : node.operands)
        if (id != value && !module_.is_weight(id)) take(id, heads, false, with_it);
      const size_t before = members.all.size();
      accept(std::move(with_it), i, members);
      if (members.all.size() == before) return;
      value = node.results[0];
    }
  }

  void form(size_t i, ir::RegionKind kind, const Members& members) {
    std::vector<Node> body;
    std::map<ValueId, ValueId> copies;
    std::vector<std::string_view> names;
    int64_t launches = 0;
    int64_t saved = 0;
    for (const size_t m : members.all) {
      Node node = module_.nodes[m];
      const std::string_view name = ir::info(node.op).name;
      if (!ir::is_view(node.op) && std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(name);
      if (!ir::is_view(node.op) && m != i) {
        saved += 2 * ir::row_bytes(module_, node.results[0]);
        ++launches;
      }
      for (ValueId& id : node.operands)
        if (const auto copy = copies.find(id); copy != copies.end()) id = copy->second;
      if (members.copied.contains(m)) {
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
    const size_t last = *members.all.rbegin();
    module_.nodes[last] = make_fused(kind, label, std::move(body), uses_);
    taken_[last] = false;
    context_.remarks.push_back({kName, names.size() > 1, label,
                                names.size() > 1
                                    ? fmt::format("one phase for {}", fmt::join(names, ", "))
                                    : fmt::format("[{}] is a phase", names.front()),
                                saved, launches});
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<bool> taken_;
  std::map<ValueId, size_t> made_at_;  // of each value: the position of its node
  std::map<ValueId, size_t> user_;     // and that of the last that reads it
  std::set<ValueId> refused_;          // results of nodes that stay where they are
};

}  // namespace

absl::StatusOr<ir::Module> fuse_recurrences(ir::Module module, PassContext& context) {
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
