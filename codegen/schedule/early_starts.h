// Decides which phases of a GPU may begin before the phase before them is over.
#pragma once

#include "absl/status/status.h"
#include "codegen/schedule/phase.h"

namespace sinter::codegen {

// A kernel that is declared early, paired or alone reads some of its arguments before it awaits the
// phase before (`Use::read_ahead`); all phases before that one are over by then. Where the phase
// before writes or updates such an argument, the kernel becomes a plain one, which awaits it first.
absl::Status settle_early_starts(LoweredSchedule& schedule);

}  // namespace sinter::codegen
