#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <vector>

namespace sinter::codegen {

// Sines and cosines of a step's positions, which all layers read.
absl::Status lower_rope_table(RegionContext& c, const ir::Node& node) {
  const ir::Node& op = node.body[0];
  Emitter e;
  const std::vector<float>& frequencies = c.module.weights.at(op.operands[0]).constant;
  if (frequencies.empty())
    return absl::UnimplementedError("[rope_table] frequencies must be a constant of the graph");
  if (auto chosen = c.layout(op.operands[0], 1); !chosen.ok()) return chosen.status();
  e.line("rope_table<{}>(launch, {}, {}, {});", frequencies.size(),
         e.pointer({Buffer::Kind::weight, op.operands[0], 0}, "const float"),
         float_literal(op.number("scale", 1.0)), e.pointer(c.buffer(op.results[0]), "float"));
  c.finish(node.label, e, "rope_table", fmt::format("{} pairs", frequencies.size()))
      .rows_per_block = 1;
  return absl::OkStatus();
}

}  // namespace sinter::codegen
