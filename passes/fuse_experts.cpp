#include "passes/fuse_experts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_experts";

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
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (module_.nodes[i].op == Op::gather_matmul && !taken_[i]) experts(i);
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
    form(ir::RegionKind::router, static_cast<size_t>(product), members, std::move(body));
  }

  // Products with the same rows, by the same choice, with matrices of one type, whose results meet
  // in an elementwise op (gate and up): their epilogue joins later.
  void experts(size_t first) {
    std::set<size_t> members = {first};
    const Node& node = module_.nodes[first];
    for (size_t i = first + 1; i < module_.nodes.size() && members.size() < 2; ++i) {
      const Node& other = module_.nodes[i];
      if (other.op != Op::gather_matmul || taken_[i] || other.operands[0] != node.operands[0] ||
          other.operands[1] != node.operands[1])
        continue;
      const std::string why = refusal(node, other);
      if (why.empty()) {
        members.insert(i);
      } else {
        context_.remarks.push_back({kName, false, other.label, why});
      }
    }
    if (members.size() < 2) return;  // a phase of its own
    std::vector<Node> body;
    for (const size_t member : members) body.push_back(module_.nodes[member]);
    form(ir::RegionKind::experts, first, members, std::move(body));
  }

  std::string refusal(const Node& node, const Node& other) const {
    const ValueId a = node.operands[2];
    const ValueId b = other.operands[2];
    if (!module_.is_weight(a) || !module_.is_weight(b)) return "its matrices are dequantized";
    if (!(module_.weight(a) == module_.weight(b)))
      return fmt::format("its matrices are {}, those of {} {}", ir::to_string(module_.weight(b)),
                         node.label, ir::to_string(module_.weight(a)));
    return "";
  }

  void form(ir::RegionKind kind, size_t at, const std::set<size_t>& members,
            std::vector<Node> body) {
    std::vector<std::string_view> names;
    std::vector<std::string> labels;
    int64_t saved = 0;
    for (const size_t member : members) {
      const Node& node = module_.nodes[member];
      names.push_back(ir::info(node.op).name);
      if (node.op == Op::matmul || node.op == Op::gather_matmul) labels.push_back(node.label);
      if (member != at) saved += ir::row_bytes(module_, node.results[0]);
      taken_[member] = member != at;
    }
    const std::string label = fmt::format("{}", fmt::join(labels, "|"));
    context_.remarks.push_back({kName, true, label,
                                fmt::format("one phase for {}", fmt::join(names, ", ")), saved,
                                static_cast<int64_t>(members.size()) - 1});
    module_.nodes[at] = make_fused(kind, label, std::move(body), uses_);
    for (const ValueId id : module_.nodes[at].results) made_at_[id] = at;
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<bool> taken_;
  std::map<ValueId, size_t> made_at_;  // of each value: the position of its node
};

}  // namespace

absl::StatusOr<ir::Module> fuse_experts(ir::Module module, PassContext& context) {
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
