#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <string>

#include "codegen/layouts/weight_structs.h"
#include "codegen/regions/products.h"

namespace sinter::codegen {

// Products with the matrices that a router chose, a row of x (or one for each choice) at a time.
absl::Status lower_experts(RegionContext& c, const ir::Node& node) {
  const ir::Node& op = node.body[0];
  const ir::ValueId weight = op.operands[2];
  if (!c.module.is_weight(weight))
    return absl::UnimplementedError("[gather_matmul] of dequantized weights; run fold_dequantize");
  const ir::WeightType& type = c.module.weight(weight);
  const auto& shape = c.module.tensor(op.results[0]).shape;
  const int64_t chosen = shape[1].value;
  const bool each = c.module.tensor(op.operands[0]).shape.size() == 3;
  // A GPU reads rows of floats 16 at a time from where they are.
  if (c.on_gpu() && multiplies_floats(type.format) && type.cols() % 16 != 0)
    return absl::UnimplementedError(
        fmt::format("phase \"{}\": experts of {} columns have no kernel; a multiple of 16 has",
                    node.label, type.cols()));
  const std::string rows =
      each ? fmt::format("launch->step->tokens * {}", chosen) : std::string("launch->step->tokens");
  Buffer prepared = c.buffer(op.operands[0]);
  if (!multiplies_floats(type.format)) {
    Emitter p;
    p.line("const PlainRows<{}> x{{{}, 0}};", type.cols(), p.pointer(prepared, "const float"));
    prepared = c.temporary({prepared_row_bytes(c, type) * (each ? chosen : 1), 64});
    p.line("write_rows<{}>(launch, {}, {}, x);", rows_type(type, c.planes()),
           p.pointer(prepared, "unsigned char"), rows);
    LoweredPhase& phase =
        c.finish(node.label + ".input", p, "quantize", fmt::format("rows of {}", type.cols()));
    phase.blocks = each ? chosen : 1;
    phase.tokens_per_block = 1;
    phase.shared_bytes = kReduceBytes;
  }
  Emitter e;
  if (auto status = c.declare_weights(e, weight, type.shape[0]); !status.ok()) return status;
  e.line("const auto x = {}::at({}, {});", rows_type(type, c.planes()),
         e.pointer(prepared, "unsigned char", Access::read), rows);
  e.line("gather_multiply<{}, {}, {}, {}>(launch, w, {}, x, {});", chosen, each, type.shape[0],
         type.shape[1], e.pointer(c.buffer(op.operands[1]), "const i32"),
         e.pointer(c.buffer(op.results[0]), "float"));
  LoweredPhase& phase = c.finish(node.label, e, ops_of(node), ir::to_string(type));
  phase.weight_bytes = type.packed_bytes() / type.shape[0] * chosen;
  phase.macs = static_cast<double>(type.shape[1] * type.shape[2] * chosen);
  const int64_t tiles = (type.shape[1] + kTileRows - 1) / kTileRows;
  phase.blocks = (tiles * chosen + 7) / 8;
  phase.tokens_per_block = 1;
  return absl::OkStatus();
}

}  // namespace sinter::codegen
