// How far a kernel's argument reaches, in bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/abi/kernel_abi.h"
#include "runtime/plan/plan.h"

namespace sinter::runtime {

// No real parameter comes near; sums of a few of them do not overflow.
inline constexpr uint64_t largest_extent = uint64_t{1} << 50;

// How large a step is.
struct StepSize {
  uint64_t rows = 1;
  uint64_t logits_rows = 1;
};

// The largest step that a schedule serves.
inline StepSize largest_step(const DevicePlan& plan, const Schedule& schedule) {
  return {static_cast<uint64_t>(schedule.most_rows),
          static_cast<uint64_t>(std::min(schedule.most_rows, plan.logits_rows))};
}

// Of paged state: in a page. Saturates.
inline uint64_t extent(const Parameter& p, const StepSize& step) {
  const auto scaled = [](uint64_t bytes, uint64_t times) {
    uint64_t product = 0;
    return __builtin_mul_overflow(bytes, times, &product) ? largest_extent
                                                          : std::min(product, largest_extent);
  };
  return std::min(p.bytes, largest_extent) + scaled(p.bytes_per_row, step.rows) +
         scaled(p.bytes_per_logits_row, step.logits_rows) +
         scaled(p.bytes_per_position, static_cast<uint64_t>(page_positions));
}

}  // namespace sinter::runtime
