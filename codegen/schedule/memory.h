// Plans the arena: every buffer that phases share gets an offset, buffers that never live at the
// same time share room.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/schedule/phase.h"

namespace sinter::codegen {

struct Placement {
  std::string name;
  int64_t offset = 0;
  int64_t bytes = 0;
  size_t first = 0, last = 0;  // phases between which it lives
};

struct MemoryPlan {
  // By kind and number of the buffer.
  std::map<std::pair<Buffer::Kind, int64_t>, Placement> placements;
  int64_t bytes = 0;
};

// Rows of a step: what the symbols T and L are at most.
struct StepRows {
  int64_t tokens = 1;
  int64_t logits = 1;
};

// A buffer lives from the first phase that writes it to the last that reads it. An internal error,
// by phase and buffer: one that is read before it is written, or written and read by nobody.
// Pinned buffers come first, from offset 0: all schedules place them alike.
absl::StatusOr<MemoryPlan> plan_memory(const ir::Module& module, const Lowering& lowering,
                                       const LoweredSchedule& schedule, StepRows rows);

std::string print_memory(const MemoryPlan& plan, const LoweredSchedule& schedule);

}  // namespace sinter::codegen
