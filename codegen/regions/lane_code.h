// Elementwise work on the columns of rows as a function of generated code.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "codegen/regions/context.h"

namespace sinter::codegen {

// Declares the function `name` of (row, column, columns left) and, where there is a value `given`,
// (.., y), which stands for it. Columns are those of all of a token's row of `value`, which nodes
// of the region compute. `end` makes the function's last statement of the expression for it.
absl::Status declare_lanes(RegionContext& c, Emitter& e, const ir::Node& region, ir::ValueId value,
                           std::string_view name, ir::ValueId given,
                           const std::function<std::string(const std::string&)>& end);

// The same, which gives the value.
absl::Status declare_lanes(RegionContext& c, Emitter& e, const ir::Node& region, ir::ValueId value,
                           std::string_view name);

}  // namespace sinter::codegen
