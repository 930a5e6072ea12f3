#include "passes/form_kernels.h"

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

constexpr const char* kName = "form_kernels";
// Tensors and vectors that a phase over rows reads: with what it writes it has 16 arguments
// at most.
constexpr size_t kMostBuffers = 12;

bool is_row_work(const Node& node) {
  return ir::is_elementwise(node.op) || ir::is_by_row(node.op) || ir::is_view(node.op);
}

// The kind of phase that an op forms with work on rows around it; null: it forms none.
const ir::Region* forms(Op op) {
  for (const ir::Region& region : ir::kRegions)
    if (region.alone(op) && region.joins(Op::affine)) return &region;
  return nullptr;
}

// Work on rows that no phase took becomes phases of its own, each as large as it can be; where it
// meets an op that such work joins, one of that op's kind.
class RowGrouper {
 public:
  RowGrouper(ir::Module& module, PassContext& context)
      : module_(module), context_(context), uses_(ir::count_uses(module)) {
    taken_.assign(module.nodes.size(), false);
    for (size_t i = 0; i < module.nodes.size(); ++i)
      for (const ValueId id : module.nodes[i].results) made_at_[id] = i;
  }

  // From the last to the first: who reads a value is then in a phase already.
  void run() {
    for (size_t i = module_.nodes.size(); i-- > 0;) {
      const Node& node = module_.nodes[i];
      if (!taken_[i] && (is_row_work(node) || forms(node.op) != nullptr)) group(i);
    }
    std::reverse(remarks_.begin(), remarks_.end());
    context_.remarks.insert(context_.remarks.end(), remarks_.begin(), remarks_.end());
    erase_nodes(module_, taken_);
  }

 private:
  // What a phase that ends with a node is so far.
  struct Group {
    ir::RowOf row = ir::RowOf::token;
    ValueId result = -1;
    const ir::Region* kind = nullptr;  // of the op that the work joins, once that is a member
    std::set<size_t> members;
    std::map<ValueId, int> reads;  // by members
    std::set<ValueId> buffers;     // what the phase reads
    std::map<ValueId, std::vector<ir::Runs>> open;
  };

  // A phase that ends with node `last`, with all that only it reads.
  void group(size_t last) {
    Group g;
    g.result = module_.nodes[last].results[0];
    g.row = ir::rows_of(module_, module_.nodes[last]);
    g.open[g.result] = {ir::Runs(1, ir::row_length(module_, g.result, g.row))};
    while (!g.open.empty()) {
      const auto next = std::max_element(
          g.open.begin(), g.open.end(),
          [&](const auto& a, const auto& b) { return position(a.first) < position(b.first); });
      const auto [value, read] = *next;
      g.open.erase(next);
      const int64_t at = position(value);
      if (at < 0 || taken_[static_cast<size_t>(at)]) continue;
      const Node& node = module_.nodes[static_cast<size_t>(at)];
      if (!may_join(g, node, value, read)) continue;
      std::set<ValueId> with_it = g.buffers;
      with_it.erase(value);
      with_it.insert(node.operands.begin(), node.operands.end());
      if (value != g.result && with_it.size() > kMostBuffers) continue;
      g.buffers = std::move(with_it);
      g.members.insert(static_cast<size_t>(at));
      if (const ir::Region* kind = forms(node.op)) g.kind = kind;
      for (size_t i = 0; i < node.operands.size(); ++i) {
        const ValueId id = node.operands[i];
        ++g.reads[id];
        if (!reads_rows(node, i)) continue;
        for (const ir::Runs& columns : read)
          ir::add_once(g.open[id], *columns_of(g, node, columns));
      }
    }
    form(last, g);
  }

  // Tensors, whose rows are those of the phase.
  bool reads_rows(const Node& node, size_t operand) const {
    if (forms(node.op) != nullptr)
      return ir::info(node.op).operands[operand].kind == ir::OperandKind::tensor;
    return !module_.is_weight(node.operands[operand]);
  }

  // What a node needs of its tensors. An op that others join has the columns of its result.
  absl::StatusOr<ir::Runs> columns_of(const Group& g, const Node& node,
                                      const ir::Runs& read) const {
    if (forms(node.op) != nullptr) return read;
    return ir::operand_columns(module_, node, read, g.row);
  }

  bool may_join(const Group& g, const Node& node, ValueId value,
                const std::vector<ir::Runs>& read) const {
    if (value != g.result && uses_[static_cast<size_t>(value)] != g.reads.at(value)) return false;
    if (const ir::Region* kind = forms(node.op)) return may_be_core(g, *kind, node, read);
    if (!is_row_work(node) || (g.kind != nullptr && !g.kind->joins(node.op))) return false;
    return std::all_of(read.begin(), read.end(), [&](const ir::Runs& columns) {
      return ir::operand_columns(module_, node, columns, g.row).ok();
    });
  }

  // Whether what is behind the op can be part of its phase, which computes all rows and columns.
  bool may_be_core(const Group& g, const ir::Region& kind, const Node& node,
                   const std::vector<ir::Runs>& read) const {
    const ValueId value = node.results[0];
    const int64_t width = ir::row_elements(module_, value);
    // The op moves down to the last of them: nothing else may touch its states.
    const bool is_free = g.members.empty() ||
                         std::all_of(node.operands.begin(), node.operands.end(), [&](ValueId id) {
                           return !module_.is_state(id) || uses_[static_cast<size_t>(id)] == 1;
                         });
    return is_free && g.kind == nullptr && g.row == ir::RowOf::token &&
           module_.tensor(value).shape[0] == module_.tensor(g.result).shape[0] &&
           ir::row_elements(module_, g.result) == width &&
           std::all_of(g.members.begin(), g.members.end(),
                       [&](size_t i) { return kind.joins(module_.nodes[i].op); }) &&
           std::all_of(read.begin(), read.end(), [&](const ir::Runs& columns) {
             return columns.offset() == 0 && columns.length() == width;
           });
  }

  void form(size_t last, const Group& g) {
    std::vector<Node> body;
    std::vector<std::string_view> names;
    for (const size_t member : g.members) {
      names.push_back(ir::info(module_.nodes[member].op).name);
      body.push_back(module_.nodes[member]);
      taken_[member] = member != last;
    }
    const std::string label = module_.nodes[last].label;
    const ir::RegionKind kind = g.kind == nullptr ? ir::RegionKind::rows : g.kind->kind;
    module_.nodes[last] = make_fused(kind, label, std::move(body), uses_);
    taken_[last] = false;
    // Alone it is a phase by nature.
    if (g.kind == &ir::region(ir::RegionKind::embed) && names.size() == 1) return;
    if (g.kind != nullptr) {
      remarks_.push_back({kName, names.size() > 1, label,
                          fmt::format("{} are one phase", fmt::join(names, ", "))});
      if (names.size() == 1) remarks_.back().reason = fmt::format("[{}] is a phase", names[0]);
      return;
    }
    remarks_.push_back(
        {kName, false, label,
         names.size() == 1
             ? fmt::format("[{}] is a phase of its own: nothing absorbed it", names[0])
             : fmt::format("{} are a phase of their own: nothing absorbed them",
                           fmt::join(names, ", "))});
  }

  int64_t position(ValueId value) const {
    const auto made = made_at_.find(value);
    return made == made_at_.end() ? -1 : static_cast<int64_t>(made->second);
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<bool> taken_;
  std::map<ValueId, size_t> made_at_;
  std::vector<Remark> remarks_;  // the last first
};

}  // namespace

absl::StatusOr<ir::Module> form_kernels(ir::Module module, PassContext& context) {
  RowGrouper(module, context).run();
  const std::vector<int> uses = ir::count_uses(module);
  for (Node& node : module.nodes) {
    if (node.op == Op::fused) continue;
    const auto* const region =
        std::find_if(ir::kRegions.begin(), ir::kRegions.end(),
                     [&](const ir::Region& known) { return known.alone(node.op); });
    if (region == ir::kRegions.end()) {
      return absl::UnimplementedError(
          fmt::format("[{}] at \"{}\" has no kernel of its own, and no phase took it along; the "
                      "remarks of the passes before form_kernels say why",
                      ir::info(node.op).name, node.label));
    }
    std::string label = node.label;
    node = make_fused(region->kind, std::move(label), {node}, uses);
  }
  return module;
}

}  // namespace sinter::passes
