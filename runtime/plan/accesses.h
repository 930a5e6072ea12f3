// Whether what kernels read and write lies where the plan says that there is something.
#pragma once

#include "runtime/plan/plan.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

// For every phase of every schedule: as many arguments as its kernel has parameters; each with all
// its extent inside its region, in a step of any size: weights within
// one weight, states within a page or what a sequence has, all of the logits; offsets
// aligned; scratch and shared memory large enough. Within a schedule nothing is read from the arena
// that was not written before and not overwritten since; what is kept between steps is never
// overwritten; all of the logits are written; probes lie in what was written.
//
// The plan has gone through the other checks: indices are in range and sizes do not overflow.
Status check_accesses(const Plan& whole, const DevicePlan& plan);

}  // namespace sinter::runtime
