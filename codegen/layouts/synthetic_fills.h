// How the weights of a synthetic plan are made at load: random codes, scales that keep activations
// near one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/layouts/layout.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

// The fills of one weight that starts at `offset` in the weights section.
std::vector<runtime::Fill> synthetic_fills(const std::string& name, const ir::WeightType& type,
                                           const PackedLayout& layout, int64_t offset);

}  // namespace sinter::codegen
