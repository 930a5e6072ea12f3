#include "codegen/regions/region.h"

#include "ir/ops.h"

namespace sinter::codegen {

// A row of the table for each token.
absl::Status lower_embed(RegionContext& c, const ir::Node& node) {
  const ir::Node& op = node.body[0];
  if (op.op != ir::Op::embed || !c.module.is_weight(op.operands[1]))
    return absl::UnimplementedError("[embed] of a dequantized table; run fold_dequantize");
  if (c.module.value(op.operands[0]).kind != ir::ValueKind::param)
    return absl::UnimplementedError("[embed] of computed numbers; those of the step's tokens are");
  Emitter e;
  if (auto status = c.declare_weights(e, op.operands[1], 1); !status.ok()) return status;
  e.line("embed<{}{}>(launch, w, step_rows(launch), {});", c.width(op.results[0]),
         op.text("by") == "position" ? ", true" : "", e.pointer(c.buffer(op.results[0]), "float"));
  const ir::WeightType& type = c.module.weight(op.operands[1]);
  LoweredPhase& phase = c.finish(node.label, e, "embed", ir::to_string(type));
  phase.rows_per_block = 1;
  phase.weight_bytes =
      static_cast<int64_t>(static_cast<double>(type.cols()) * type.format.bits_per_weight() / 8);
  return absl::OkStatus();
}

}  // namespace sinter::codegen
