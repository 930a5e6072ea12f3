#include "runtime/session/probe.h"

#include <fmt/format.h>

#include <cmath>

namespace sinter::runtime {

Status check_probes(std::span<const Probe> probes, std::span<const float> computed,
                    std::string_view device, std::string_view target) {
  for (size_t i = 0; i < probes.size(); ++i) {
    const Probe& probe = probes[i];
    const auto got = static_cast<double>(computed[i]);
    if (std::abs(got - probe.expected) <= probe.tolerance) continue;  // false for NaN
    return Error{fmt::format(
        "{}: the code for {} does not decode weights of the format \"{}\" as the compiler did: a "
        "row of {} times the probe is {} instead of {} (within {:.2g}); compile the plan again, "
        "and report it if that does not help",
        device, target, probe.format, probe.weight, got, probe.expected, probe.tolerance)};
  }
  return Done{};
}

}  // namespace sinter::runtime
