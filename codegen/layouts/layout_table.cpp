#include "codegen/layouts/layout_table.h"

#include <algorithm>

namespace sinter::codegen {

const std::vector<LayoutRow>& layouts() {
  static const std::vector<LayoutRow> table = [] {
    std::vector<LayoutRow> rows;
#define SINTER_LAYOUT(id)          \
  rows.push_back(layout_##id());   \
  rows.back().layout = Layout::id; \
  rows.back().name = #id;
#include "codegen/layouts/layouts.def"
    return rows;
  }();
  return table;
}

// Rows are in the order of the enumeration.
const LayoutRow& row_of(Layout layout) { return layouts()[static_cast<size_t>(layout)]; }

bool serves_every_type(const ir::WeightType&) { return true; }

Layout layout_for(Device device, const ir::WeightType& type) {
  const ir::WeightType stored = kernel_type(type);
  // The last row of a device serves every type (tests/codegen/layout_test.cpp).
  return std::ranges::find_if(layouts(),
                              [&](const LayoutRow& row) {
                                return std::ranges::find(row.devices, device) !=
                                           row.devices.end() &&
                                       row.serves(stored);
                              })
      ->layout;
}

}  // namespace sinter::codegen
