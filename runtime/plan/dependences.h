// Which phases of a schedule wait for which.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/plan/plan.h"

namespace sinter::runtime {

// Of each phase, the phases before it that must be over when it begins, in ascending order: those
// that write what it touches or touch what it writes, in a step and a session of any size. Who
// waits for a phase need not wait for what that one waited for, so such phases are left out (but of
// schedules of more than 16,384 phases).
//
// Any order of phases that obeys this gives the same bits, and phases that do not wait for each
// other may run at the same time. The plan's accesses are those of its kernels' parameters; it has
// gone through `check_contents`.
std::vector<std::vector<uint32_t>> dependences(const DevicePlan& plan, const Schedule& schedule);

}  // namespace sinter::runtime
