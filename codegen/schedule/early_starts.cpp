#include "codegen/schedule/early_starts.h"

#include <fmt/format.h>

#include <algorithm>

namespace sinter::codegen {

namespace {

bool writes(const LoweredPhase& phase, const Buffer& buffer) {
  for (size_t i = 0; i < phase.arguments.size(); ++i) {
    const Buffer& its = phase.arguments[i];
    if (its.kind == buffer.kind && its.value == buffer.value &&
        phase.uses[i].access != Access::read)
      return true;
  }
  return false;
}

}  // namespace

absl::Status settle_early_starts(LoweredSchedule& schedule) {
  const LoweredPhase* before = nullptr;
  for (LoweredPhase& phase : schedule.phases) {
    for (size_t i = 0; i < phase.arguments.size(); ++i) {
      if (!phase.uses[i].read_ahead) continue;
      if (phase.uses[i].access == Access::write)
        return absl::InternalError(
            fmt::format("phase \"{}\" of schedule {} reads argument {} ahead, which it only writes",
                        phase.name, schedule.shape.name, i));
      if (phase.begins_early() && before != nullptr && writes(*before, phase.arguments[i]))
        phase.kernel = LoweredPhase::Kernel::plain;
    }
    before = &phase;
  }
  return absl::OkStatus();
}

}  // namespace sinter::codegen
