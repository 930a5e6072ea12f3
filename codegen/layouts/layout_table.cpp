#include "codegen/layouts/layout_table.h"

#include <algorithm>

namespace sinter::codegen {

namespace {

bool every_type(const ir::WeightType&) { return true; }
bool vectors(const ir::WeightType& type) { return type.shape.size() == 1; }

}  // namespace

const std::vector<LayoutRow>& layouts() {
  static const std::vector<LayoutRow> table = {
      {.layout = Layout::plain,
       .name = "plain",
       .devices = {Device::host, Device::gpu},
       .serves = vectors,
       .run_bytes = 1,
       .pack_codes = nullptr,
       .scale_index = nullptr,
       .block_records = false,
       .codes_struct = ""},
      {.layout = Layout::cpu16,
       .name = "cpu16",
       .devices = {Device::host},
       .serves = every_type,
       .run_bytes = 1,
       .pack_codes = pack_codes_cpu16,
       .scale_index = scale_index_cpu16,
       .block_records = false,
       .codes_struct = "BitCodes"},
      {.layout = Layout::gpu16,
       .name = "gpu16",
       .devices = {Device::gpu},
       .serves = every_type,
       .run_bytes = 16,
       .pack_codes = pack_codes_gpu16,
       .scale_index = scale_index_gpu16,
       .block_records = true,
       .codes_struct = "BitCodes"},
  };
  return table;
}

const LayoutRow& row_of(Layout layout) {
  return *std::ranges::find(layouts(), layout, &LayoutRow::layout);
}

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
