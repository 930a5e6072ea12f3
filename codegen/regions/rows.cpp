#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "codegen/device/sizes.h"
#include "codegen/regions/row_code.h"
#include "codegen/schedule/epilogue.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

// What no product absorbed: norms and elementwise ops, row by row or head by head.
absl::Status lower_rows(RegionContext& c, const Node& node) {
  const ValueId result = node.results[0];
  const auto& shape = c.module.tensor(result).shape;
  const ir::RowOf row_of = ir::rows_of(c.module, node.body.back());
  const int64_t width = ir::row_length(c.module, result, row_of);
  std::string rows = c.row_count(result);
  if (row_of == ir::RowOf::head) rows += fmt::format(" * {}", shape[1].value);
  if (auto status = c.declare_vectors(node); !status.ok()) return status;
  Emitter e;
  const bool lane_by_lane = std::all_of(node.body.begin(), node.body.end(), [](const Node& n) {
    return ir::is_elementwise(n.op) || n.op == Op::slice || n.op == Op::reshape;
  });
  if (!lane_by_lane) {
    if (auto code = declare_rows(c, e, node, result, {}, "", row_of); !code.ok())
      return code.status();
    e.line("write_float_rows<{}>(launch, {}, {}, x, [=](index row) {{ return {}; }});", width,
           e.pointer(c.buffer(result), "float"), rows, c.row_of_result(result));
  } else {
    ElementwiseCode code(
        {c.module, node.body, [](ValueId, const ir::Runs&) { return std::string(); },
         [&c](ValueId id) { return c.buffer(id); }, [&c](ValueId id) { return c.row_of(id); },
         row_of},
        e);
    auto value = code.evaluate(result, ir::Runs(1, width));
    if (!value.ok()) return value.status();
    e.line("float* out = {};", e.pointer(c.buffer(result), "float"));
    e.line(
        "for_each_vector<{}>(launch, {}, [=](index row, index col, index n) "
        "__attribute__((always_inline)) {{",
        width, rows);
    e.open();
    for (const std::string& statement : code.statements()) e.line("{}", statement);
    e.line("store(out + {} * {} + col, {}, n);", c.row_of_result(result), width, *value);
    e.close();
    e.line("}});");
  }
  LoweredPhase& phase = c.finish(node.label, e, ops_of(node), fmt::format("rows of {}", width));
  phase.rows_per_block = 1;
  phase.shared_bytes = sizes::reduce_bytes();
  return absl::OkStatus();
}

}  // namespace sinter::codegen
