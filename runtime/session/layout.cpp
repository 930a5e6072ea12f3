#include "runtime/session/layout.h"

#include "runtime/session/step_table.h"

namespace sinter::runtime {

SessionLayout::SessionLayout(const Plan& plan, const DevicePlan& device, const SessionSize& size)
    : states(device.states),
      row_bytes(static_cast<uint64_t>(plan.vocab_size) * sizeof(float)),
      hidden_row_bytes(static_cast<uint64_t>(plan.hidden_size) * sizeof(float)) {
  const auto sequences = static_cast<uint64_t>(size.sequences);
  paged = add(states.bytes(size.pages, 0));
  fixed = add(states.bytes(0, size.sequences));
  step = add(step_table_bytes(device.chunk));
  pages = add(sequences * static_cast<uint64_t>(size.pages_per_sequence) * sizeof(int32_t));
  arena = add(device.arena_bytes);
  logits = add((sequences + static_cast<uint64_t>(device.logits_rows)) * row_bytes);
  if (plan.hidden_size != 0)
    hidden = add((sequences + static_cast<uint64_t>(device.chunk)) * hidden_row_bytes);
}

SessionLayout::Buffer SessionLayout::add(uint64_t wanted) {
  constexpr uint64_t alignment = 256;
  const Buffer buffer{bytes, round_up(wanted + buffer_slack, alignment)};
  bytes += buffer.bytes;
  return buffer;
}

uint64_t SessionLayout::offset(const DevicePlan& device, const Argument& argument) const {
  switch (argument.region) {
    case Argument::Region::state: {
      const bool in_pages = device.states[argument.index].kind == PlanState::Kind::paged;
      return (in_pages ? paged : fixed).offset + states.offsets[argument.index] + argument.offset;
    }
    case Argument::Region::arena:
      return arena.offset + argument.offset;
    case Argument::Region::logits:
      return logits.offset + argument.offset;
    case Argument::Region::hidden:
      return hidden.offset + argument.offset;
    case Argument::Region::weights:
      break;
  }
  return argument.offset;
}

}  // namespace sinter::runtime
