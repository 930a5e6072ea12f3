#include "passes/fuse_experts.h"

#include <fmt/format.h>

#include <set>
#include <string>

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
  }

  void run() {
    for (size_t i = 0; i < module_.nodes.size(); ++i)
      if (module_.nodes[i].op == Op::gather_matmul && !taken_[i]) experts(i);
    erase_nodes(module_, taken_);
  }

 private:
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
    form_phase(module_, context_, kName, ir::RegionKind::experts, first, members, uses_, taken_);
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

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<bool> taken_;
};

}  // namespace

absl::StatusOr<ir::Module> fuse_experts(ir::Module module, PassContext& context) {
  Fuser(module, context).run();
  return module;
}

}  // namespace sinter::passes
