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
// Tensors and vectors that a phase over rows reads: it has 16 arguments.
constexpr size_t kMostBuffers = 12;

bool is_row_work(const Node& node) {
  return ir::is_elementwise(node.op) || ir::is_by_row(node.op) || ir::is_view(node.op);
}

// Work on rows that no phase took becomes phases of its own, each as large as it can be.
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
    for (size_t i = module_.nodes.size(); i-- > 0;)
      if (!taken_[i] && is_row_work(module_.nodes[i])) group(i);
    std::reverse(remarks_.begin(), remarks_.end());
    context_.remarks.insert(context_.remarks.end(), remarks_.begin(), remarks_.end());
    std::vector<Node> nodes;
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (!taken_[i]) nodes.push_back(std::move(module_.nodes[i]));
    module_.nodes = std::move(nodes);
  }

 private:
  // A phase that ends with node `last`, with all that only it reads.
  void group(size_t last) {
    const ValueId result = module_.nodes[last].results[0];
    const ir::RowOf row = ir::rows_of(module_, module_.nodes[last]);
    std::set<size_t> members;
    std::map<ValueId, int> reads;  // by members
    std::set<ValueId> buffers;     // what the phase reads
    std::map<ValueId, std::vector<ir::Runs>> open;
    open[result] = {ir::Runs(1, ir::row_length(module_, result, row))};
    while (!open.empty()) {
      const auto next = std::max_element(
          open.begin(), open.end(),
          [&](const auto& a, const auto& b) { return position(a.first) < position(b.first); });
      const auto [value, read] = *next;
      open.erase(next);
      const int64_t at = position(value);
      if (at < 0 || taken_[static_cast<size_t>(at)]) continue;
      const Node& node = module_.nodes[static_cast<size_t>(at)];
      if (!is_row_work(node)) continue;
      if (value != result && uses_[static_cast<size_t>(value)] != reads[value]) continue;
      if (!std::all_of(read.begin(), read.end(), [&](const ir::Runs& columns) {
            return ir::operand_columns(module_, node, columns, row).ok();
          }))
        continue;
      std::set<ValueId> with_it = buffers;
      with_it.erase(value);
      with_it.insert(node.operands.begin(), node.operands.end());
      if (value != result && with_it.size() > kMostBuffers) continue;
      buffers = std::move(with_it);
      members.insert(static_cast<size_t>(at));
      for (const ValueId id : node.operands) {
        ++reads[id];
        if (!module_.is_weight(id))
          for (const ir::Runs& columns : read)
            open[id].push_back(*ir::operand_columns(module_, node, columns, row));
      }
    }
    form(last, members);
  }

  void form(size_t last, const std::set<size_t>& members) {
    std::vector<Node> body;
    std::vector<std::string_view> names;
    for (const size_t member : members) {
      names.push_back(ir::info(module_.nodes[member].op).name);
      body.push_back(module_.nodes[member]);
      taken_[member] = member != last;
    }
    const std::string label = module_.nodes[last].label;
    module_.nodes[last] = make_fused(ir::RegionKind::rows, label, std::move(body), uses_);
    taken_[last] = false;
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
