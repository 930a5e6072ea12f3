#include "codegen/regions/region.h"

#include <fmt/format.h>

#include "codegen/device/sizes.h"

namespace sinter::codegen {

// The experts that a router chooses for each row.
absl::Status lower_top_k(RegionContext& c, const ir::Node& node) {
  const ir::Node& op = node.body[0];
  Emitter e;
  e.line("top_k<{}, {}>(launch, {}, {}, {});", c.width(op.operands[0]), op.integer("k", 0),
         e.pointer(c.buffer(op.operands[0]), "const float"), c.row_count(op.results[0]),
         e.pointer(c.buffer(op.results[0]), "i32"));
  LoweredPhase& phase =
      c.finish(node.label, e, "top_k", fmt::format("of {}", c.width(op.operands[0])));
  phase.rows_per_block = 1;
  phase.shared_bytes = sizes::choice_bytes();
  return absl::OkStatus();
}

}  // namespace sinter::codegen
