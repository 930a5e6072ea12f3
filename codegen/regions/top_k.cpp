#include <fmt/format.h>

#include "codegen/device/sizes.h"
#include "codegen/regions/region.h"
#include "codegen/regions/top_k.h"

namespace sinter::codegen {

void emit_top_k(RegionContext& c, Emitter& e, const ir::Node& op, const std::string& launch) {
  std::string groups;
  if (const int64_t count = op.integer("groups"); count > 1)
    groups =
        fmt::format(", {}, {}, {}", count, op.integer("groups_kept"), op.integer("group_best"));
  e.line("top_k<{}, {}{}>({}, {}, {}, {});", c.width(op.operands[0]), op.integer("k"), groups,
         launch, e.pointer(c.buffer(op.operands[0]), "const float"), c.row_count(op.results[0]),
         e.pointer(c.buffer(op.results[0]), "i32"));
}

int64_t choice_bytes(const ir::Node& op) { return sizes::choice_bytes(op.integer("groups")); }

// The experts that a router chooses for each row.
absl::Status lower_top_k(RegionContext& c, const ir::Node& node) {
  const ir::Node& op = node.body[0];
  Emitter e;
  emit_top_k(c, e, op, "launch");
  LoweredPhase& phase =
      c.finish(node.label, e, "top_k", fmt::format("of {}", c.width(op.operands[0])));
  phase.rows_per_block = 1;
  phase.shared_bytes = choice_bytes(op);
  return absl::OkStatus();
}

}  // namespace sinter::codegen
