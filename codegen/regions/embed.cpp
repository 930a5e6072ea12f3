#include "codegen/regions/region.h"

#include <algorithm>

#include "codegen/device/sizes.h"
#include "codegen/regions/row_code.h"
#include "ir/ops.h"

namespace sinter::codegen {

// A row of the table for each token, and what is made of it.
absl::Status lower_embed(RegionContext& c, const ir::Node& node) {
  const auto found = std::find_if(node.body.begin(), node.body.end(),
                                  [](const ir::Node& n) { return n.op == ir::Op::embed; });
  if (found == node.body.end())
    return absl::InternalError("[fused] a phase of an embedding has none");
  const ir::Node& op = *found;
  if (!c.module.is_weight(op.operands[1]))
    return absl::UnimplementedError("[embed] of a dequantized table; run fold_dequantize");
  if (c.module.value(op.operands[0]).kind != ir::ValueKind::param)
    return absl::UnimplementedError("[embed] of computed numbers; those of the step's tokens are");
  const ir::ValueId result = node.results[0];
  if (auto status = c.declare_vectors(node); !status.ok()) return status;
  Emitter e;
  if (auto status = c.declare_weights(e, op.operands[1], 1); !status.ok()) return status;
  if (node.body.size() == 1) {
    e.line("embed<{}, {}, {}>(launch, w, step_rows(launch), {});", c.width(result),
           op.text("by") == "position", bounded_rows(c, op), e.pointer(c.buffer(result), "float"));
  } else {
    if (auto code = declare_rows(c, e, node, result, {}, ""); !code.ok()) return code.status();
    e.line("write_float_rows<{}>(launch, {}, {}, x, [=](index row) {{ return {}; }});",
           ir::row_length(c.module, result, ir::RowOf::token), e.pointer(c.buffer(result), "float"),
           c.row_count(result), c.row_of_result(result));
  }
  const ir::WeightType& type = c.module.weight(op.operands[1]);
  LoweredPhase& phase = c.finish(node.label, e, ops_of(node), ir::to_string(type));
  phase.rows_per_block = 1;
  if (node.body.size() > 1) phase.shared_bytes = sizes::reduce_bytes();
  phase.weight_bytes =
      static_cast<int64_t>(static_cast<double>(type.cols()) * type.format.bits_per_weight() / 8);
  return absl::OkStatus();
}

}  // namespace sinter::codegen
