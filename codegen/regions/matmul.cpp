#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "codegen/layouts/weight_structs.h"
#include "codegen/regions/products.h"
#include "codegen/schedule/epilogue.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

// A product with packed weights, with the norm before it and the elementwise ops behind it.
absl::Status lower_matmul(RegionContext& c, const Node& node) {
  const auto is_product = [](const Node& n) { return n.op == Op::matmul; };
  const auto product = std::find_if(node.body.begin(), node.body.end(), is_product);
  if (product == node.body.end() || node.results.size() != 1)
    return absl::InternalError(
        fmt::format("phase \"{}\" is not one product with one result", node.label));
  const ValueId input = product->operands[0];
  const ValueId weight = product->operands[1];
  if (!c.module.is_weight(weight))
    return absl::UnimplementedError("[matmul] of dequantized weights; run fold_dequantize");
  const ir::WeightType& type = c.module.weight(weight);
  const ValueId result = node.results[0];
  const int64_t out_width = c.width(result);
  const int64_t parts = type.rows() / out_width;
  const std::string rows = c.row_count(result);
  const std::string dims = fmt::format("{} x {}", type.rows(), type.cols());

  const std::string rows_form = rows_type(type, c.planes());
  const bool floats = multiplies_floats(type.format);
  const int64_t row_bytes = prepared_row_bytes(c, type);

  Emitter e;
  if (auto status = c.declare_weights(e, weight, parts); !status.ok()) return status;
  if (c.one_row()) {
    if (auto prologue = c.declare_prologue(e, node, input); !prologue.ok())
      return prologue.status();
    if (!c.on_gpu()) c.out.scratch_bytes = std::max(c.out.scratch_bytes, row_bytes);
  } else {
    // The prologue is a phase of its own; dense weights read plain rows where they are.
    Emitter p;
    const auto prologue = c.declare_prologue(p, node, input);
    if (!prologue.ok()) return prologue.status();
    const bool plain = prologue->plain;
    Buffer prepared = c.buffer(prologue->source);
    if (!plain || !floats) {
      prepared = c.temporary({row_bytes, 64});
      p.line("write_rows<{}>(launch, {}, {}, x);", rows_form, p.pointer(prepared, "unsigned char"),
             rows);
      c.finish(node.label + ".input", p,
               plain    ? "quantize"
               : floats ? "rms_norm"
                        : "rms_norm, quantize",
               fmt::format("rows of {}", type.cols()))
          .tokens_per_block = 1;
      c.lowered.phases.back().shared_bytes = kReduceBytes;
    }
    e.line("const auto x = {}::at({}, {});", rows_form,
           e.pointer(prepared, "unsigned char", Access::read), rows);
  }

  const auto leaf = [&](ValueId value, int64_t offset) {
    return value == product->results[0] ? fmt::format("y{}", offset / out_width) : std::string();
  };
  ElementwiseCode code(
      c.module, node.body, leaf, e, [&c](ValueId id) { return c.buffer(id); }, "row");
  auto value = code.evaluate(result, 0);
  if (!value.ok()) return value.status();
  if (auto status = c.declare_vectors(node); !status.ok()) return status;
  e.line("float* out = {};", e.pointer(c.buffer(result), "float"));
  const std::string ys = parts == 1 ? "Lanes y0" : "Lanes y0, Lanes y1";
  e.line(
      "const auto epilogue = [=](index row, index col, index n, {}) "
      "__attribute__((always_inline)) {{",
      ys);
  e.open();
  for (const std::string& statement : code.statements()) e.line("{}", statement);
  e.line("store(out + row * {} + col, {}, n);", out_width, *value);
  e.close();
  e.line("}};");
  const GpuShape shape = gpu_shape(c, type, out_width);
  if (c.one_row()) {
    if (c.on_gpu())
      e.line("static_assert(one_row_shared_bytes<{}> <= {});", rows_form, shape.shared_bytes);
    e.line("matmul_one_row<{}, {}, {}>(launch, w, x, epilogue);", rows_form, parts, out_width);
  } else {
    if (c.on_gpu())
      e.line("static_assert(tile_shared_bytes<{}> <= {});", rows_form, shape.shared_bytes);
    e.line("multiply<{}, {}>(launch, w, x, epilogue);", parts, out_width);
  }
  if (floats && c.one_row())
    c.remarks.push_back(
        {"lower", false, c.module.value(weight).name,
         fmt::format("{} weights: multiplied in float32, whatever the activation mode",
                     type.format.is_dense() ? "dense" : "fp8")});
  LoweredPhase& phase =
      c.finish(node.label, e, ops_of(node), fmt::format("{} {}", dims, ir::to_string(type.format)));
  phase.weight_bytes = type.packed_bytes();
  phase.macs = static_cast<double>(type.elements());
  if (c.one_row() && !c.on_gpu()) phase.scratch_bytes = row_bytes;
  if (c.on_gpu()) {
    if (c.one_row()) phase.kernel = LoweredPhase::Kernel::early;
    phase.blocks = shape.blocks;
    phase.tokens_per_block = shape.tokens_per_block;
    phase.shared_bytes = shape.shared_bytes;
  }
  return absl::OkStatus();
}

}  // namespace sinter::codegen
