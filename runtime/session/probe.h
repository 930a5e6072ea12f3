// Probes: dot products that tell, before the first token, whether the loaded kernels decode the
// loaded weights as the compiler did.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/abi/kernel_abi.h"
#include "runtime/plan/plan.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

// The step that the probe schedule runs with, in a session that is as at the start.
inline constexpr StepRow probe_row{.token = 0, .position = 0, .sequence = 0, .logits = 0};

// computed[i] is what a device with code for `target` left for probes[i]. Error: the first that is
// off by more than its tolerance, or not a number.
Status check_probes(std::span<const Probe> probes, std::span<const float> computed,
                    std::string_view device, std::string_view target);

}  // namespace sinter::runtime
