// Work on rows as code: elementwise ops, ops by row and views, in any order, become nested
// prologues of codegen/device/*/prologues.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/regions/context.h"
#include "ir/rows.h"

namespace sinter::codegen {

// What a chain of work on rows became.
struct RowCode {
  // The tensor whose rows it gives unchanged, if it is but that.
  ir::ValueId plain = -1;
  std::optional<ir::Runs> heads;  // of heads: where they lie in its rows
  std::string ops;                // names, for people
};

// Declares `x`, a prologue that gives the rows of `value`, which nodes of the region compute from
// what lies in memory. Values of `kept` are written on the way by those for whom the C++ expression
// `keep` is true.
absl::StatusOr<RowCode> declare_rows(RegionContext& c, Emitter& e, const ir::Node& region,
                                     ir::ValueId value, const std::vector<ir::ValueId>& kept,
                                     const std::string& keep, ir::RowOf row_of = ir::RowOf::token);

// The same for rows that are the heads of `value`, which lie one after another.
absl::StatusOr<RowCode> declare_heads(RegionContext& c, Emitter& e, const ir::Node& region,
                                      ir::ValueId value, const ir::Runs& heads);

// Rows of an embedding's table, where a token beyond them has the first; else 0.
int64_t bounded_rows(const RegionContext& c, const ir::Node& embed);

}  // namespace sinter::codegen
