#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <string>
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
  std::string growth;
  if (const double log_scale = op.number("log_scale"); log_scale != 0)
    growth = fmt::format(", LogGrowth{{{}, {}, {}}}", float_literal(log_scale),
                         op.integer("log_period"), op.integer("log_offset"));
  e.line("rope_table<{}>(launch, {}, {}, {}{});", frequencies.size(),
         e.pointer({Buffer::Kind::weight, op.operands[0], 0}, "const float"),
         float_literal(op.number("scale", 1.0)), e.pointer(c.buffer(op.results[0]), "float"),
         growth);
  c.finish(node.label, e, "rope_table", fmt::format("{} pairs", frequencies.size()))
      .rows_per_block = 1;
  return absl::OkStatus();
}

}  // namespace sinter::codegen
