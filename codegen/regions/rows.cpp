#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <string>

#include "codegen/schedule/epilogue.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

// What no product absorbed: a norm, or elementwise ops, row by row.
absl::Status lower_rows(RegionContext& c, const Node& node) {
  const Node& op = node.body[0];
  const ValueId result = op.results[0];
  if (c.module.tensor(result).shape.size() != 2)
    return absl::UnimplementedError(fmt::format("[{}] at \"{}\" on heads has no kernel of its own",
                                                ir::info(op.op).name, node.label));
  Emitter e;
  if (ir::is_by_row(op.op) || op.op == Op::last_rows) {
    if (auto prologue = c.declare_prologue(e, node, result); !prologue.ok())
      return prologue.status();
    e.line("write_rows<FloatRows<{}>>(launch, {}, {}, x);", c.width(result),
           e.pointer(c.buffer(result), "unsigned char"), c.row_count(result));
  } else {
    ElementwiseCode code(
        c.module, node.body, [](ValueId, int64_t) { return std::string(); }, e,
        [&c](ValueId id) { return c.buffer(id); }, "row");
    auto value = code.evaluate(result, 0);
    if (!value.ok()) return value.status();
    if (auto status = c.declare_vectors(node); !status.ok()) return status;
    e.line("float* out = {};", e.pointer(c.buffer(result), "float"));
    e.line(
        "for_each_vector<{}>(launch, {}, [=](index row, index col, index n) "
        "__attribute__((always_inline)) {{",
        c.width(result), c.row_count(result));
    e.open();
    for (const std::string& statement : code.statements()) e.line("{}", statement);
    e.line("store(out + row * {} + col, {}, n);", c.width(result), *value);
    e.close();
    e.line("}});");
  }
  LoweredPhase& phase =
      c.finish(node.label, e, ops_of(node), fmt::format("rows of {}", c.width(result)));
  phase.tokens_per_block = 1;
  phase.shared_bytes = kReduceBytes;
  return absl::OkStatus();
}

}  // namespace sinter::codegen
