// Phases that need nothing of each other become one: each is a launch less of a GPU, a barrier less
// of the host.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codegen/schedule/phase.h"

namespace sinter::codegen {

inline constexpr std::string_view kJoinPhases = "join_phases";  // as passes have names

// A phase that has become part of another.
struct JoinedPhase {
  std::string name, with;
};

// Every phase moves up to the first of those behind all that it waits for that it can be part of.
// On a GPU blocks divide among the parts of a phase as their work does, so parts have blocks for
// the same number of rows; where a step has many rows they also need the same shared memory. What
// was declared with registers of its own (LoweredPhase::Kernel) stays alone there.
std::vector<JoinedPhase> join_phases(LoweredSchedule& schedule, bool on_gpu);

}  // namespace sinter::codegen
