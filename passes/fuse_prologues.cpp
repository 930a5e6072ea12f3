#include "passes/fuse_prologues.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "ir/entries.h"
#include "ir/rows.h"
#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_prologues";
// Tensors and vectors that a prologue reads or keeps: with weights, epilogue and result a phase
// then has 16 arguments at most, half of the room that phases have which become one.
constexpr size_t kMostBuffers = 8;

// The work on rows that a product's input is made of, as far as it moves into the product's phase.
struct Prologue {
  std::vector<size_t> members;  // positions of nodes, the last first
  std::set<ValueId> kept;       // results of them that others read too
};

// Who reads a value, beside products that recompute it.
struct Need {
  bool used = false;
  size_t first = std::numeric_limits<size_t>::max();  // position of the first phase that does
};

class Fuser {
 public:
  Fuser(ir::Module& module, PassContext& context) : module_(module), context_(context) {
    for (const ir::Entry& entry : ir::entries_of(module))
      returned_.insert(entry.returns.begin(), entry.returns.end());
    for (size_t i = 0; i < module.nodes.size(); ++i) {
      for (const ValueId id : module.nodes[i].results) made_at_[id] = i;
      note_reads(module.nodes[i], i);
    }
  }

  void run() {
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (has_products(module_.nodes[i])) fuse(i);
    std::erase_if(module_.nodes,
                  [](const Node& node) { return node.results.empty() && moved(node); });
    erase_dead(module_);
    if (keeps_) sink_rows(module_);
  }

 private:
  // A node whose result a phase has taken over.
  static bool moved(const Node& node) {
    return node.op != Op::fused && ir::info(node.op).has_result();
  }

  // Whether a phase computes rows before it multiplies them; each of its products has them.
  static bool has_products(const Node& group) {
    return ir::is_region(group, ir::RegionKind::matmul) ||
           ir::is_region(group, ir::RegionKind::router) ||
           ir::is_region(group, ir::RegionKind::experts);
  }

  void fuse(size_t i) {
    const ValueId input = products_of(module_.nodes[i])[0]->operands[0];
    if (module_.tensor(input).shape.size() != 2) return;  // a row for each choice
    const Prologue prologue = find(i, input);
    if (prologue.members.empty()) return;
    Node& group = module_.nodes[i];
    std::vector<size_t> order = prologue.members;
    std::sort(order.begin(), order.end());
    std::map<ValueId, ValueId> renamed;
    std::vector<Node> body;
    std::vector<ValueId> results;
    for (const size_t at : order) {
      const ValueId result = module_.nodes[at].results[0];
      remark(group, at, prologue.kept.contains(result));
      Node node = module_.nodes[at];
      for (ValueId& id : node.operands)
        if (const auto found = renamed.find(id); found != renamed.end()) id = found->second;
      if (prologue.kept.contains(result)) {
        results.push_back(result);
        made_at_[result] = i;
        module_.nodes[at].results.clear();
        module_.nodes[at].operands.clear();
        keeps_ = true;
      } else {
        node.results = {module_.add_value(module_.value(result))};
        renamed[result] = node.results[0];
      }
      body.push_back(std::move(node));
    }
    if (const auto found = renamed.find(input); found != renamed.end())
      for (Node* product : products_of(group)) product->operands[0] = found->second;
    results.insert(results.end(), group.results.begin(), group.results.end());
    group.results = std::move(results);
    std::move(group.body.begin(), group.body.end(), std::back_inserter(body));
    group.body = std::move(body);
    note_reads(group, i);
  }

  // A norm's own phase goes away once, however many products recompute it.
  void remark(const Node& group, size_t at, bool kept) {
    const Node& node = module_.nodes[at];
    if (ir::is_view(node.op)) return;
    const bool first = absorbed_.insert(node.results[0]).second;
    context_.remarks.push_back(
        {kName, true, node.label,
         fmt::format("recomputed inside {}{}", group.label,
                     kept ? ", which writes it for others" : ""),
         first ? (kept ? 1 : 2) * ir::row_bytes(module_, node.results[0]) : 0, first ? 1 : 0});
  }

  void refuse(const Node& node, std::string why) {
    if (!ir::is_view(node.op))
      context_.remarks.push_back({kName, false, node.label, std::move(why)});
  }

  // Goes back from the input, node by node, as long as a node is work on rows that the phase can
  // do: others that read its result are products, which recompute it, or come later, so that the
  // phase can write it for them.
  Prologue find(size_t i, ValueId input) {
    Prologue prologue;
    std::set<ValueId> buffers;
    // What is read, and in which columns. The last that was made comes first: all that read a
    // value are then known.
    std::map<ValueId, std::vector<ir::Runs>> open;
    open[input] = {ir::Runs(1, ir::row_elements(module_, input))};
    while (!open.empty()) {
      const auto last = std::max_element(
          open.begin(), open.end(),
          [&](const auto& a, const auto& b) { return position(a.first) < position(b.first); });
      const auto [value, read] = *last;
      open.erase(last);
      if (!take(i, input, value, read, prologue)) {
        buffers.insert(value);
        continue;
      }
      const Node& node = module_.nodes[prologue.members.back()];
      for (const ValueId id : node.operands) {
        if (module_.is_weight(id)) {
          buffers.insert(id);
          continue;
        }
        for (const ir::Runs& at : read)
          ir::add_once(open[id], *ir::operand_columns(module_, node, at, ir::RowOf::token));
      }
    }
    if (buffers.size() + prologue.kept.size() <= kMostBuffers) return prologue;
    refuse(module_.nodes[prologue.members.front()],
           fmt::format("it is made of {} tensors and vectors, a prologue has room for {}",
                       buffers.size(), kMostBuffers - prologue.kept.size()));
    return {};
  }

  int64_t position(ValueId value) const {
    const auto made = made_at_.find(value);
    return made == made_at_.end() ? -1 : static_cast<int64_t>(made->second);
  }

  // Adds the node that makes a value to the prologue, if it may be part of it.
  bool take(size_t i, ValueId input, ValueId value, const std::vector<ir::Runs>& read,
            Prologue& prologue) {
    const auto made = made_at_.find(value);
    if (made == made_at_.end() || made->second > i) return false;
    const Node& node = module_.nodes[made->second];
    if (!is_row_work(node)) return false;
    bool whole = true;
    for (const ir::Runs& at : read) {
      const auto columns = ir::operand_columns(module_, node, at, ir::RowOf::token);
      if (!columns.ok()) {
        refuse(node, std::string(columns.status().message()));
        return false;
      }
      whole = whole && at.offset() == 0 && at.length() == ir::row_elements(module_, value);
    }
    const Need need = need_of(value, prologue);
    if (need.used && !ir::is_view(node.op)) {
      if (const std::string why = keep_refusal(i, input, value, whole, need); !why.empty()) {
        refuse(node, why);
        return false;
      }
      prologue.kept.insert(value);
    }
    prologue.members.push_back(made->second);
    return true;
  }

  // Whether a value is rows of a table, or what the table's phase can make of them.
  bool is_of_table(ValueId value) const {
    const auto made = made_at_.find(value);
    if (made == made_at_.end()) return false;
    const Node& node = module_.nodes[made->second];
    if (node.op == Op::embed) return true;
    return ir::region(ir::RegionKind::embed).joins(node.op) &&
           std::all_of(node.operands.begin(), node.operands.end(),
                       [&](ValueId id) { return module_.is_weight(id) || is_of_table(id); });
  }

  // Why the phase cannot write a value that it computes for others; empty if it can.
  std::string keep_refusal(size_t i, ValueId input, ValueId value, bool whole,
                           const Need& need) const {
    if (is_of_table(value)) return "others read it too, and the phase of the table makes it once";
    if (need.first <= i)
      return fmt::format("\"{}\" reads it too, before the phase could have written it",
                         module_.nodes[need.first].label);
    if (!whole || module_.tensor(value).shape.size() != 2)
      return "the product reads parts of it, others all";
    if (module_.tensor(value).shape[0] != module_.tensor(input).shape[0])
      return "the product reads its last rows, others all";
    return "";
  }

  static bool is_row_work(const Node& node) {
    return !node.results.empty() && ir::region_rule::on_rows(node.op);
  }
  static bool reads(const Node& node, ValueId value) {
    const std::vector<ValueId> inputs = ir::inputs_of(node);
    return std::find(inputs.begin(), inputs.end(), value) != inputs.end();
  }
  void note_reads(const Node& node, size_t i) {
    for (const ValueId id : ir::inputs_of(node)) readers_[id].insert(i);
  }

  // Who reads a value beside the prologue. A product whose input it is recomputes it instead; what
  // other work on rows makes of it is needed by those that read that.
  Need need_of(ValueId value, const Prologue& prologue) {
    Need need;
    const auto& members = prologue.members;
    std::vector<ValueId> open = {value};
    std::set<ValueId> seen = {value};
    while (!open.empty()) {
      const ValueId made = open.back();
      open.pop_back();
      need.used |= returned_.contains(made);
      for (const size_t user : readers_[made]) {
        if (std::find(members.begin(), members.end(), user) != members.end()) continue;
        const Node& node = module_.nodes[user];
        if (!reads(node, made) || (made == value && is_product_of(node, value))) continue;
        if (!is_row_work(node)) {
          need.used = true;
          need.first = std::min(need.first, user);
        } else if (seen.insert(node.results[0]).second) {
          open.push_back(node.results[0]);
        }
      }
    }
    return need;
  }
  // Whether the node is a product's phase that reads the value as the product's input alone.
  static bool is_product_of(const Node& group, ValueId value) {
    if (!has_products(group)) return false;
    for (const Node& node : group.body)
      if (!is_product(node) &&
          std::find(node.operands.begin(), node.operands.end(), value) != node.operands.end())
        return false;
    return products_of(group)[0]->operands[0] == value;
  }

  ir::Module& module_;
  PassContext& context_;
  std::map<ValueId, size_t> made_at_;            // of each value: the position of its node
  std::map<ValueId, std::set<size_t>> readers_;  // of each value; some may read it no more
  std::set<ValueId> returned_;                   // by any entry
  std::set<ValueId> absorbed_;                   // values that a product has taken
  bool keeps_ = false;                           // a phase computes what was computed before it
};

}  // namespace

absl::StatusOr<ir::Module> fuse_prologues(ir::Module module, PassContext& context) {
  form_products(module);
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
