// Phases of GPUs that need nothing of each other and are small become one: each has blocks of its
// own, and what would run one after the other runs side by side.
#pragma once

#include "codegen/schedule/phase.h"

namespace sinter::codegen {

void join_side_by_side(LoweredSchedule& schedule);

}  // namespace sinter::codegen
