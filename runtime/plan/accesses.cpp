#include "runtime/plan/accesses.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "runtime/plan/extent.h"

namespace sinter::runtime {
namespace {

using Access = Parameter::Access;
using Region = Argument::Region;

constexpr uint64_t alignment = 64;  // of everything but logits, which are whole
// Bytes of the arena, [begin, end).
struct Range {
  uint64_t begin = 0, end = 0;
  bool overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
  bool holds(const Range& other) const { return begin <= other.begin && other.end <= end; }
};

class AccessChecker {
 public:
  AccessChecker(const Plan& whole, const DevicePlan& plan) : whole_(whole), plan_(plan) {
    for (const PlanWeight& weight : plan.weights)
      if (weight.bytes != 0) weights_.push_back({weight.offset, weight.offset + weight.bytes});
    std::ranges::sort(weights_, {}, &Range::begin);
  }

  Status check() {
    for (size_t i = 1; i < weights_.size(); ++i)
      if (weights_[i].begin < weights_[i - 1].end)
        return Error{fmt::format("weights overlap at offset {}", weights_[i].begin)};
    const auto most_logits = static_cast<uint64_t>(plan_.logits_rows);
    collect_kept();
    // Extents grow linearly, so the smallest and the largest step say it for all between.
    for (const Schedule& schedule : plan_.schedules) {
      const auto rows = static_cast<uint64_t>(schedule.most_rows);
      for (const StepSize& step : {StepSize{1, 1}, StepSize{rows, std::min(rows, most_logits)}})
        if (Status status = check_schedule(schedule, step); !status.ok()) return status;
    }
    return Done{};
  }

 private:
  // What schedules update in the arena lives from step to step.
  void collect_kept() {
    for (const Schedule& schedule : plan_.schedules) {
      for (const Phase& phase : schedule.phases) {
        const auto& parameters = plan_.kernels[phase.kernel].parameters;
        for (size_t a = 0; a < std::min(phase.arguments.size(), parameters.size()); ++a) {
          const Argument& argument = phase.arguments[a];
          if (argument.region != Region::arena || parameters[a].access != Access::update) continue;
          kept_.push_back({argument.offset, argument.offset + extent(parameters[a], StepSize{})});
        }
      }
    }
  }

  Status check_schedule(const Schedule& schedule, const StepSize& step) {
    const std::string& name = schedule.name;
    const std::vector<Phase>& phases = schedule.phases;
    written_.clear();
    bool writes_logits = false;
    // An entry behind the model continues what that has left, so that nothing is there to be read
    // in its own steps.
    const bool leaves_hidden = whole_.hidden_size != 0 && schedule.entry != Schedule::Entry::probe;
    hidden_ = schedule.entry == Schedule::Entry::mtp ? Hidden::given : Hidden::missing;
    for (size_t i = 0; i < phases.size(); ++i) {
      const Phase& phase = phases[i];
      const Kernel& kernel = plan_.kernels[phase.kernel];
      const std::string where = fmt::format("{}[{}]", name, i);
      if (Status status = check_kernel(phase, kernel, where); !status.ok()) return status;
      // Reads first: a phase reads what those before it wrote.
      for (const bool writes : {false, true}) {
        for (size_t a = 0; a < phase.arguments.size(); ++a) {
          const Argument& argument = phase.arguments[a];
          const Parameter& parameter = kernel.parameters[a];
          if ((parameter.access == Access::write) != writes) continue;
          const Status status = check_argument(argument, parameter, step);
          if (!status.ok())
            return Error{fmt::format("{}.arguments[{}]: {}", where, a, status.error().message)};
          writes_logits |= argument.region == Region::logits && writes;
        }
      }
    }
    if (schedule.entry == Schedule::Entry::probe) return check_probes();
    if (!writes_logits) return Error{fmt::format("{}: no phase writes the logits", name)};
    if (leaves_hidden && hidden_ != Hidden::written)
      return Error{fmt::format("{}: no phase leaves hidden states", name)};
    return Done{};
  }

  Status check_kernel(const Phase& phase, const Kernel& kernel, const std::string& where) const {
    if (phase.arguments.size() != kernel.parameters.size())
      return Error{fmt::format("{}: {} arguments for kernel {}, which has {} parameters", where,
                               phase.arguments.size(), kernel.symbol, kernel.parameters.size())};
    if (phase.shared_bytes < kernel.shared_bytes)
      return Error{fmt::format("{}: shared_bytes {} are less than the {} that kernel {} needs",
                               where, phase.shared_bytes, kernel.shared_bytes, kernel.symbol)};
    if (plan_.scratch_bytes < kernel.scratch_bytes)
      return Error{fmt::format("scratch_bytes {} are less than the {} that kernel {} needs",
                               plan_.scratch_bytes, kernel.scratch_bytes, kernel.symbol)};
    return Done{};
  }

  Status check_argument(const Argument& argument, const Parameter& parameter,
                        const StepSize& step) {
    if (parameter.bytes_per_position != 0 && argument.region != Region::state)
      return Error{"only a state has bytes per position"};
    const uint64_t bytes = extent(parameter, step);
    if (bytes == 0) return Error{"the kernel's parameter has no bytes"};
    switch (argument.region) {
      case Region::weights:
        return check_weight(argument, parameter, bytes);
      case Region::state:
        return check_state(argument, parameter);
      case Region::arena:
        return check_arena(argument, parameter, bytes);
      case Region::logits:
        return check_logits(argument, parameter, bytes,
                            step.logits_rows * static_cast<uint64_t>(whole_.vocab_size) * 4);
      case Region::hidden:
        return check_hidden(argument, parameter, bytes,
                            step.rows * static_cast<uint64_t>(whole_.hidden_size) * 4);
    }
    return Done{};
  }

  static Status check_aligned(const Argument& argument) {
    if (argument.offset % alignment == 0) return Done{};
    return Error{fmt::format("offset {} is not a multiple of {}", argument.offset, alignment)};
  }

  Status check_weight(const Argument& argument, const Parameter& parameter, uint64_t bytes) const {
    if (parameter.access != Access::read) return Error{"weights are only read"};
    if (Status status = check_aligned(argument); !status.ok()) return status;
    const Range range{argument.offset, argument.offset + bytes};
    const auto after = std::ranges::upper_bound(weights_, range.begin, {}, &Range::begin);
    if (after != weights_.begin() && std::prev(after)->holds(range)) return Done{};
    return Error{
        fmt::format("{} bytes at offset {} are not within one weight", bytes, argument.offset)};
  }

  // Within one page, or within what a sequence has.
  Status check_state(const Argument& argument, const Parameter& parameter) const {
    if (Status status = check_aligned(argument); !status.ok()) return status;
    const PlanState& state = plan_.states[argument.index];
    const bool paged = state.kind == PlanState::Kind::paged;
    const uint64_t bytes = extent(parameter, {});
    const uint64_t size = paged ? state.bytes_per_position * page_positions : state.fixed_bytes;
    const bool of_kind =
        paged ? parameter.bytes == 0 && argument.offset == 0 : parameter.bytes_per_position == 0;
    if (of_kind && parameter.bytes_per_row == 0 && parameter.bytes_per_logits_row == 0 &&
        argument.offset <= size && bytes <= size - argument.offset)
      return Done{};
    return Error{fmt::format("{} bytes at offset {} reach beyond state {}, which has {} {}", bytes,
                             argument.offset, argument.index, size,
                             paged ? "in a page" : "for a sequence")};
  }

  // All of them and no more.
  static Status check_logits(const Argument& argument, const Parameter& parameter, uint64_t bytes,
                             uint64_t wanted) {
    if (parameter.access != Access::write) return Error{"logits are only written"};
    if (argument.offset == 0 && bytes == wanted) return Done{};
    return Error{fmt::format("{} bytes at offset {}, expected {} at offset 0", bytes,
                             argument.offset, wanted)};
  }

  // All of them and no more; those of the entry mtp are read before they are written.
  Status check_hidden(const Argument& argument, const Parameter& parameter, uint64_t bytes,
                      uint64_t wanted) {
    if (argument.offset != 0 || bytes != wanted)
      return Error{fmt::format("{} bytes at offset {}, expected {} at offset 0", bytes,
                               argument.offset, wanted)};
    if (parameter.access == Access::write) {
      hidden_ = Hidden::written;
      return Done{};
    }
    if (parameter.access == Access::read && hidden_ == Hidden::given) return Done{};
    return Error{"hidden states are read where a step of the model left them, or written"};
  }

  Status check_arena(const Argument& argument, const Parameter& parameter, uint64_t bytes) {
    if (Status status = check_aligned(argument); !status.ok()) return status;
    if (argument.offset > plan_.arena_bytes || bytes > plan_.arena_bytes - argument.offset)
      return Error{fmt::format("{} bytes at offset {} reach beyond the arena of {}", bytes,
                               argument.offset, plan_.arena_bytes)};
    const Range range{argument.offset, argument.offset + bytes};
    const auto overlaps = [&](const Range& other) { return other.overlaps(range); };
    switch (parameter.access) {
      case Access::update:
        return Done{};
      case Access::read:
        if (std::ranges::any_of(written_, [&](const Range& r) { return r.holds(range); }))
          return Done{};
        return Error{
            fmt::format("reads {} bytes at offset {} of the arena that no phase before it "
                        "wrote",
                        bytes, argument.offset)};
      case Access::write:
        if (std::ranges::any_of(kept_, overlaps))
          return Error{
              fmt::format("overwrites what is kept between steps at offset {} of the "
                          "arena",
                          argument.offset)};
        std::erase_if(written_, overlaps);
        written_.push_back(range);
        return Done{};
    }
    return Done{};
  }

  // After the probe schedule.
  Status check_probes() const {
    for (size_t i = 0; i < plan_.probes.size(); ++i) {
      const uint64_t at = plan_.probes[i].offset;
      const Range result{at, at + sizeof(float)};
      if (std::ranges::none_of(written_, [&](const Range& r) { return r.holds(result); }))
        return Error{fmt::format("probes[{}].offset {}: no phase writes there", i, at)};
    }
    return Done{};
  }

  const Plan& whole_;
  const DevicePlan& plan_;
  std::vector<Range> weights_;  // in order
  std::vector<Range> kept_;
  enum class Hidden { missing, given, written } hidden_ = Hidden::missing;
  std::vector<Range> written_;  // of the schedule that is checked, up to the phase that is checked
};

}  // namespace

Status check_accesses(const Plan& whole, const DevicePlan& plan) {
  return AccessChecker(whole, plan).check();
}

}  // namespace sinter::runtime
