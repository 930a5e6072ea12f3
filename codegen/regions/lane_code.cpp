#include "codegen/regions/lane_code.h"

#include <fmt/format.h>

#include "codegen/schedule/epilogue.h"
#include "ir/views.h"

namespace sinter::codegen {

using ir::ValueId;

absl::Status declare_lanes(RegionContext& c, Emitter& e, const ir::Node& region, ValueId value,
                           std::string_view name, ValueId given,
                           const std::function<std::string(const std::string&)>& end) {
  const auto leaf = [&](ValueId id, const ir::Runs&) -> absl::StatusOr<std::string> {
    return id == given ? "y" : "";
  };
  ElementwiseCode code(
      {c.module, region.body, leaf, [&c](ValueId id) { return c.buffer(id); },
       [](ValueId) { return std::string("row"); }, ir::RowOf::token, std::string(name) + "_in"},
      e);
  auto result = code.evaluate(value, ir::Runs(1, ir::row_elements(c.module, value)));
  if (!result.ok()) return result.status();
  const std::string last = end(*result);
  e.line("const auto {} = [=](index row, index col, index n{}) __attribute__((always_inline)) {{",
         name, given < 0 ? "" : ", Lanes y");
  e.open();
  for (const std::string& statement : code.statements()) e.line("{}", statement);
  e.line("{}", last);
  e.close();
  e.line("}};");
  return absl::OkStatus();
}

absl::Status declare_lanes(RegionContext& c, Emitter& e, const ir::Node& region, ValueId value,
                           std::string_view name) {
  return declare_lanes(c, e, region, value, name, -1,
                       [](const std::string& result) { return fmt::format("return {};", result); });
}

}  // namespace sinter::codegen
