#include "runtime/plan/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "runtime/abi/kernel_abi.h"
#include "runtime/plan/accesses.h"
#include "runtime/plan/synthetic.h"

namespace sinter::runtime {
namespace {

// No real plan comes near; sums of a few such sizes do not overflow.
constexpr uint64_t largest_size = 1ull << 50;

bool is_identifier(std::string_view name) {
  const auto letter = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (name.empty() || name.size() > 255 || !letter(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

bool inside(uint64_t offset, uint64_t bytes, uint64_t whole) {
  return offset <= whole && bytes <= whole - offset;
}

Status check_weights(const DevicePlan& plan) {
  if (plan.synthetic() && !plan.weights_sections.empty()) {
    return Error{"weights_sections: a synthetic plan (one with fills) has none"};
  }
  std::vector<uint64_t> ends;  // of the sections, within the weights
  uint64_t all = 0;
  for (size_t i = 0; i < plan.weights_sections.size(); ++i) {
    const uint64_t bytes = plan.weights_sections[i].bytes;
    if (bytes == 0 || bytes % 64 != 0 || bytes > largest_size - all) {
      return Error{
          fmt::format("weights_sections[{}] has {} bytes, expected a multiple of 64 and "
                      "{} in all at most",
                      i, bytes, largest_size)};
    }
    all += bytes;
    ends.push_back(all);
  }
  if (!plan.synthetic() && all != plan.weight_bytes) {
    return Error{fmt::format("weight_bytes is {}, but the sections of weights have {} bytes",
                             plan.weight_bytes, all)};
  }
  for (size_t i = 0; i < plan.weights.size(); ++i) {
    const PlanWeight& weight = plan.weights[i];
    if (weight.offset % 64 != 0) {
      return Error{fmt::format("weights[{}].offset {} is not a multiple of 64", i, weight.offset)};
    }
    if (!inside(weight.offset, weight.bytes, plan.weight_bytes)) {
      return Error{fmt::format("weights[{}]: bytes {}+{} reach beyond weight_bytes {}", i,
                               weight.offset, weight.bytes, plan.weight_bytes)};
    }
    const auto end = std::ranges::upper_bound(ends, weight.offset);
    if (end != ends.end() && weight.offset + weight.bytes > *end) {
      return Error{fmt::format("weights[{}]: bytes {}+{} lie in two sections", i, weight.offset,
                               weight.bytes)};
    }
  }
  return Done{};
}

// How many numbers a fill holds; 0 when its dtype is none or its bytes do not fit the dtype.
uint64_t fill_elements(const Fill& fill) {
  const uint64_t size = fill_element_bytes(fill.dtype);
  return size != 0 && fill.bytes % size == 0 ? fill.bytes / size : 0;
}

Status check_fills(const DevicePlan& plan) {
  for (size_t i = 0; i < plan.fills.size(); ++i) {
    const Fill& fill = plan.fills[i];
    const auto fail = [i](std::string_view what) {
      return Error{fmt::format("fills[{}]: {}", i, what)};
    };
    if (!inside(fill.offset, fill.bytes, plan.weight_bytes)) {
      return fail(fmt::format("bytes {}+{} reach beyond weight_bytes {}", fill.offset, fill.bytes,
                              plan.weight_bytes));
    }
    const bool numbers = fill.kind == Fill::Kind::uniform || fill.kind == Fill::Kind::paired;
    if (numbers && fill.bytes != 0 && fill_elements(fill) == 0) {
      return fail(fmt::format(
          "{} bytes do not hold whole elements of dtype \"{}\" (f32, f16, bf16, e8m0 or e4m3)",
          fill.bytes, fill.dtype));
    }
    if (fill.kind != Fill::Kind::paired) continue;
    if (i == 0 || plan.fills[i - 1].kind != Fill::Kind::uniform) {
      return fail("a paired fill must follow the uniform fill of its scales");
    }
    if (fill_element_bytes(fill.dtype) == 1 || fill_element_bytes(plan.fills[i - 1].dtype) == 1) {
      return fail("a paired fill and its scales have f32, f16 or bf16");
    }
    if (fill_elements(plan.fills[i - 1]) != fill_elements(fill)) {
      return fail(fmt::format("{} numbers, but the scales before it are {}", fill_elements(fill),
                              fill_elements(plan.fills[i - 1])));
    }
  }
  // Threads write the fills in any order.
  std::vector<const Fill*> order;
  for (const Fill& fill : plan.fills) {
    if (fill.bytes != 0) order.push_back(&fill);
  }
  std::sort(order.begin(), order.end(),
            [](const Fill* a, const Fill* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes) {
      return Error{fmt::format("fills overlap at offset {} of the weights", order[i]->offset)};
    }
  }
  return Done{};
}

// Bytes that an argument of the region may point into.
uint64_t region_bytes(const Plan& whole, const DevicePlan& plan, const Argument& argument) {
  switch (argument.region) {
    case Argument::Region::weights:
      return plan.weight_bytes;
    case Argument::Region::state: {
      const PlanState& state = plan.states[argument.index];
      return state.bytes_per_position * page_positions + state.fixed_bytes;
    }
    case Argument::Region::arena:
      return plan.arena_bytes;
    case Argument::Region::logits:
      return static_cast<uint64_t>(plan.logits_rows) * whole.vocab_size * 4;
    case Argument::Region::hidden:
      return static_cast<uint64_t>(plan.chunk) * whole.hidden_size * 4;
  }
  return 0;
}

Status check_phases(const Plan& whole, const DevicePlan& plan, const std::vector<Phase>& phases,
                    std::string_view field) {
  for (size_t i = 0; i < phases.size(); ++i) {
    const Phase& phase = phases[i];
    if (phase.kernel >= plan.kernels.size()) {
      return Error{fmt::format("{}[{}].kernel {} is outside the {} kernels", field, i, phase.kernel,
                               plan.kernels.size())};
    }
    if (phase.arguments.size() > static_cast<size_t>(max_arguments) || phase.blocks < 1 ||
        phase.blocks > (1U << 24) || phase.rows_per_block > (1U << 20) ||
        phase.shared_bytes > (1U << 20)) {
      return Error{
          fmt::format("{}[{}]: arguments, blocks or shared memory are out of range", field, i)};
    }
    for (size_t a = 0; a < phase.arguments.size(); ++a) {
      const Argument& argument = phase.arguments[a];
      if (argument.region == Argument::Region::state && argument.index >= plan.states.size()) {
        return Error{fmt::format("{}[{}].arguments[{}]: state {} is outside the {} states", field,
                                 i, a, argument.index, plan.states.size())};
      }
      if (const uint64_t bytes = region_bytes(whole, plan, argument); argument.offset >= bytes) {
        return Error{fmt::format("{}[{}].arguments[{}]: offset {} is outside the region's {} bytes",
                                 field, i, a, argument.offset, bytes)};
      }
    }
  }
  return Done{};
}

// Steps of one row, and of any number up to the chunk.
Status check_sizes_served(const DevicePlan& plan, Schedule::Entry entry, std::string_view what) {
  if (!plan.schedule_for(entry, plan.chunk))
    return Error{fmt::format("no {} serves steps of {} rows", what, plan.chunk)};
  if (plan.schedules[*plan.schedule_for(entry, 1)].most_rows != 1)
    return Error{fmt::format("no {} is for steps of one row", what)};
  return Done{};
}

Status check_schedules(const Plan& whole, const DevicePlan& plan) {
  std::set<std::string_view> names;
  for (const Schedule& schedule : plan.schedules) {
    if (!names.insert(schedule.name).second)
      return Error{fmt::format("schedule \"{}\" is there twice", schedule.name)};
    if (schedule.phases.empty()) return Error{fmt::format("{} has no phases", schedule.name)};
    if (schedule.entry == Schedule::Entry::mtp && whole.hidden_size == 0)
      return Error{fmt::format("{} is of the entry mtp, but hidden_size is 0", schedule.name)};
    if (schedule.most_rows < 1 || schedule.most_rows > plan.chunk)
      return Error{fmt::format("{} is for steps of at most {} rows, expected 1..{}", schedule.name,
                               schedule.most_rows, plan.chunk)};
    if (Status status = check_phases(whole, plan, schedule.phases, schedule.name); !status.ok())
      return status;
  }
  if (Status status = check_sizes_served(plan, Schedule::Entry::main, "schedule"); !status.ok())
    return status;
  return whole.hidden_size == 0
             ? Status(Done{})
             : check_sizes_served(plan, Schedule::Entry::mtp, "schedule of the entry mtp");
}

Status check_probes(const DevicePlan& plan) {
  if (!plan.probes.empty() && plan.phases_for(Schedule::Entry::probe, 1).empty())
    return Error{"probes: no phase computes them"};
  for (size_t i = 0; i < plan.probes.size(); ++i) {
    const Probe& probe = plan.probes[i];
    if (probe.offset % sizeof(float) != 0 ||
        !inside(probe.offset, sizeof(float), plan.arena_bytes)) {
      return Error{
          fmt::format("probes[{}].offset {} is not the offset of a float in the arena of {} bytes",
                      i, probe.offset, plan.arena_bytes)};
    }
    if (!std::isfinite(probe.expected) || !std::isfinite(probe.tolerance) || probe.tolerance < 0) {
      return Error{fmt::format("probes[{}]: {} within {} is not a valid result", i, probe.expected,
                               probe.tolerance)};
    }
  }
  return Done{};
}

Status check_range(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return Done{};
  return Error{fmt::format("{} is {}, outside {}..{}", field, value, low, high)};
}

// Rows of a step are all written before the first of them is attended.
Status check_ring(const PlanState& state, uint64_t chunk) {
  if (state.kind != PlanState::Kind::ring) {
    if (state.positions == 0 && state.window == 0) return Done{};
    return Error{"only a ring has a window and a number of positions"};
  }
  if (state.window < 1 || state.positions > largest_size || state.positions % page_positions != 0 ||
      state.positions < chunk || state.positions - chunk + 1 < state.window ||
      state.fixed_bytes % state.positions != 0)
    return Error{
        fmt::format("a ring of {} positions in {} bytes does not serve a window of {} and steps of "
                    "{} rows",
                    state.positions, state.fixed_bytes, state.window, chunk)};
  return Done{};
}

Status check_device_sizes(const Plan& whole, const DevicePlan& plan) {
  const auto small = [](std::string_view field, uint64_t value) -> Status {
    if (value <= largest_size) return Done{};
    return Error{fmt::format("{} is {}, which is too large", field, value)};
  };
  for (const Status& status :
       {check_range("chunk", plan.chunk, 1, 1 << 20),
        check_range("logits_rows", plan.logits_rows, 1, plan.chunk),
        small("weight_bytes", plan.weight_bytes), small("arena_bytes", plan.arena_bytes),
        small("scratch_bytes", plan.scratch_bytes)}) {
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < plan.states.size(); ++i) {
    const PlanState& state = plan.states[i];
    const bool paged = state.kind == PlanState::Kind::paged;
    const uint64_t size = paged ? state.bytes_per_position : state.fixed_bytes;
    if (size == 0 || (paged ? state.fixed_bytes : state.bytes_per_position) != 0)
      return Error{fmt::format("states[{}] must have {}", i,
                               paged ? "bytes per position alone" : "fixed bytes alone")};
    if (size > largest_size) return Error{fmt::format("states[{}] is too large", i)};
    if (Status status = check_ring(state, static_cast<uint64_t>(plan.chunk)); !status.ok())
      return Error{fmt::format("states[{}]: {}", i, status.error().message)};
  }
  return small("the state at max_context", plan.state_bytes(whole.max_context));
}

Status check_device_plan(const Plan& whole, const DevicePlan& plan) {
  if (!is_identifier(plan.device)) {
    return Error{fmt::format("device \"{}\" is no name of a kind of device", plan.device)};
  }
  std::set<std::string_view> symbols;
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    if (!is_identifier(plan.kernels[i].symbol)) {
      return Error{fmt::format("kernels[{}].symbol is not a C identifier", i)};
    }
    if (!symbols.insert(plan.kernels[i].symbol).second) {
      return Error{
          fmt::format("kernels[{}].symbol \"{}\" is there twice", i, plan.kernels[i].symbol)};
    }
  }
  if (Status status = check_device_sizes(whole, plan); !status.ok()) return status;
  if (Status status = check_weights(plan); !status.ok()) return status;
  if (Status status = check_fills(plan); !status.ok()) return status;
  if (Status status = check_schedules(whole, plan); !status.ok()) return status;
  if (Status status = check_probes(plan); !status.ok()) return status;
  return check_accesses(whole, plan);
}

}  // namespace

std::optional<size_t> DevicePlan::schedule_for(Schedule::Entry entry, int64_t rows) const {
  std::optional<size_t> best;
  for (size_t i = 0; i < schedules.size(); ++i) {
    const Schedule& schedule = schedules[i];
    if (schedule.entry != entry || schedule.most_rows < rows) continue;
    if (!best || schedule.most_rows < schedules[*best].most_rows) best = i;
  }
  return best;
}

const std::vector<Phase>& DevicePlan::phases_for(Schedule::Entry entry, int64_t rows) const {
  static const std::vector<Phase> none;
  const auto number = schedule_for(entry, rows);
  return number ? schedules[*number].phases : none;
}

StateLayout::StateLayout(const std::vector<PlanState>& states) {
  constexpr uint64_t state_alignment = 64;
  const auto add = [](uint64_t& to, uint64_t bytes) {
    const uint64_t before = to;
    if (__builtin_add_overflow(to, bytes, &to)) to = UINT64_MAX;
    return before;
  };
  for (const PlanState& state : states) {
    uint64_t bytes = 0;
    if (state.kind == PlanState::Kind::paged) {
      if (__builtin_mul_overflow(state.bytes_per_position, uint64_t{page_positions}, &bytes))
        bytes = UINT64_MAX;
      offsets.push_back(add(page_bytes, bytes));
    } else {
      if (__builtin_add_overflow(state.fixed_bytes, state_alignment - 1, &bytes))
        bytes = UINT64_MAX;
      offsets.push_back(add(fixed_bytes, bytes / state_alignment * state_alignment));
    }
  }
}

int64_t least_kept(const std::vector<PlanState>& states, int64_t written) {
  int64_t least = 0;
  for (const PlanState& state : states) {
    if (state.kind == PlanState::Kind::fixed) return written;
    // The row behind `kept` positions sees the last window - 1 of them.
    if (state.kind == PlanState::Kind::ring)
      if (const int64_t gone = written - static_cast<int64_t>(state.positions); gone > 0)
        least = std::max(least, gone + static_cast<int64_t>(state.window) - 1);
  }
  return least;
}

uint64_t StateLayout::bytes(int64_t pages, int64_t sequences) const {
  const auto times = [](uint64_t bytes, int64_t count) {
    uint64_t product = 0;
    return __builtin_mul_overflow(bytes, std::max<int64_t>(count, 0), &product) ? UINT64_MAX
                                                                                : product;
  };
  uint64_t sum = 0;
  return __builtin_add_overflow(times(page_bytes, pages), times(fixed_bytes, sequences), &sum)
             ? UINT64_MAX
             : sum;
}

uint64_t DevicePlan::state_bytes(int64_t positions, int64_t sequences) const {
  const int64_t pages = positions <= 0 ? 0 : (positions - 1) / page_positions + 1;  // of each
  int64_t all = 0;
  if (__builtin_mul_overflow(pages, std::max<int64_t>(sequences, 0), &all)) return UINT64_MAX;
  return StateLayout(states).bytes(all, sequences);
}

std::vector<NamedSection> present_sections(const Plan& plan) {
  std::vector<NamedSection> sections;
  const auto add = [&](std::string name, const Section& section, bool is_weights = false) {
    if (section.bytes != 0) sections.push_back({std::move(name), &section, is_weights});
  };
  for (const CodeObject& code : plan.code) add("code for " + code.target, code.section);
  std::map<Section, std::set<std::string_view>> readers;  // device plans may have them in common
  for (const DevicePlan& device : plan.device_plans)
    for (const Section& section : device.weights_sections) readers[section].insert(device.device);
  for (const DevicePlan& device : plan.device_plans) {
    for (const Section& section : device.weights_sections) {
      const auto at = readers.find(section);
      if (at == readers.end()) continue;  // it has been added
      add(fmt::format("{} weights", fmt::join(at->second, " and ")), section, true);
      readers.erase(at);
    }
    add(device.device + " source", device.source);
    add(device.device + " memory", device.memory);
  }
  add("tokenizer", plan.tokenizer);
  add("tokenizer_config", plan.tokenizer_config);
  add("chat_template", plan.chat_template);
  add("graph", plan.graph);
  return sections;
}

Status check_sections(const Plan& plan, uint64_t header_offset) {
  for (const CodeObject& code : plan.code) {
    if (code.section.bytes == 0) {
      return Error{fmt::format("the code for {} is absent", code.target)};
    }
  }
  std::vector<NamedSection> sections = present_sections(plan);
  for (const NamedSection& named : sections) {
    const Section& section = *named.section;
    if (section.offset % plan_alignment != 0) {
      return Error{fmt::format("section {}: offset {} is not a multiple of 4096", named.name,
                               section.offset)};
    }
    if (!inside(section.offset, section.bytes, header_offset)) {
      return Error{
          fmt::format("section {}: bytes {}+{} reach beyond the file's sections, which end at {}",
                      named.name, section.offset, section.bytes, header_offset)};
    }
  }
  std::sort(sections.begin(), sections.end(), [](const NamedSection& a, const NamedSection& b) {
    return a.section->offset < b.section->offset;
  });
  uint64_t free = plan_alignment;  // where the next section must start
  std::string before = "the file's first 4096 bytes";
  for (const NamedSection& named : sections) {
    const Section& section = *named.section;
    if (section.offset < free) {
      return Error{
          fmt::format("section {} at offset {} overlaps {}", named.name, section.offset, before)};
    }
    if (section.offset > free) break;
    // No overflow: within header_offset, which is within a file.
    free = (section.offset + section.bytes + plan_alignment - 1) / plan_alignment * plan_alignment;
    before = "section " + named.name;
  }
  if (free != header_offset) {
    return Error{fmt::format("the bytes at offset {} belong to no section", free)};
  }
  return Done{};
}

Status check_contents(const Plan& plan) {
  if (plan.code.empty()) return Error{"code has no target"};
  for (const Status& status : {check_range("vocab_size", plan.vocab_size, 1, 1 << 28),
                               check_range("hidden_size", plan.hidden_size, 0, 1 << 24),
                               check_range("max_context", plan.max_context, 1, 1 << 30)}) {
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < plan.code.size(); ++i) {
    const CodeObject& code = plan.code[i];
    if (code.device_plan >= plan.device_plans.size()) {
      return Error{fmt::format("code[{}].device_plan {} is outside the {} device plans", i,
                               code.device_plan, plan.device_plans.size())};
    }
    const std::string& device = plan.device_plans[code.device_plan].device;
    if (code.family.starts_with("host") != (device == "host")) {
      return Error{fmt::format("code[{}] is for {}, but its device plan is of kind {}", i,
                               code.family, device)};
    }
    const size_t kernels = plan.device_plans[code.device_plan].kernels.size();
    if (!code.resources.empty() && code.resources.size() != kernels) {
      return Error{fmt::format("code[{}].resources has {} entries for {} kernels", i,
                               code.resources.size(), kernels)};
    }
  }
  for (size_t i = 0; i < plan.device_plans.size(); ++i) {
    if (Status status = check_device_plan(plan, plan.device_plans[i]); !status.ok()) {
      return Error{fmt::format("device_plans[{}]: {}", i, status.error().message)};
    }
  }
  return Done{};
}

}  // namespace sinter::runtime
