// plain: vectors, one number after another.
#include "codegen/layouts/layout_table.h"

namespace sinter::codegen {

namespace {

bool is_vector(const ir::WeightType& type) { return type.shape.size() == 1; }

}  // namespace

LayoutRow layout_plain() { return {.devices = {Device::host, Device::gpu}, .serves = is_vector}; }

}  // namespace sinter::codegen
