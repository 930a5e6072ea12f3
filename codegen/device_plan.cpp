#include "codegen/device_plan.h"

#include <algorithm>
#include <utility>

#include "codegen/layouts/synthetic_fills.h"
#include "codegen/probe/input.h"

namespace sinter::codegen {

namespace {

// Seconds for reading the weights and multiplying, whichever takes longer, plus a barrier.
double predict_us(const LoweredPhase& phase, const Target& target) {
  constexpr double kBarrierUs = 1.0;
  const double read = static_cast<double>(phase.weight_bytes) / target.bandwidth_gbs / 1e3;
  const double multiply = phase.macs / target.gmacs / 1e3;
  return std::max(read, multiply) + kBarrierUs;
}

runtime::Argument argument(const DeviceCompilation& d, const Buffer& buffer,
                           const MemoryPlan& memory) {
  using Region = runtime::Argument::Region;
  const auto id = static_cast<ir::ValueId>(buffer.value);
  switch (buffer.kind) {
    case Buffer::Kind::weight:
      return {Region::weights, static_cast<uint64_t>(d.weights.offsets.at(id) + buffer.offset), 0};
    case Buffer::Kind::state:
      return {Region::state, 0, d.lowering.states.numbers.at(id)};
    case Buffer::Kind::logits:
      return {Region::logits, 0, 0};
    case Buffer::Kind::hidden:
      return {Region::hidden, 0, 0};
    case Buffer::Kind::activation:
    case Buffer::Kind::temporary:
    case Buffer::Kind::pinned:
      break;
  }
  return {Region::arena,
          static_cast<uint64_t>(memory.placements.at({buffer.kind, buffer.value}).offset), 0};
}

class DevicePlanAssembler {
 public:
  DevicePlanAssembler(const Compilation& compilation, const DeviceCompilation& device,
                      const CompileOptions& options)
      : c_(compilation), d_(device), options_(options) {}

  // Names weights and states, fills in phases.
  runtime::DevicePlan assemble() {
    runtime::DevicePlan plan;
    plan.device = kind_of(d_.device).name;
    plan.chunk = d_.chunk;
    plan.logits_rows = d_.logits_rows;
    for (const auto& [id, layout] : d_.lowering.layouts)
      plan.weights.push_back(
          {c_.module.value(id).name, ir::to_string(c_.module.value(id).type),
           std::string(name(layout.order)), static_cast<uint64_t>(d_.weights.offsets.at(id)),
           static_cast<uint64_t>(layout.bytes), c_.module.weight(id).format.bits_per_weight()});
    plan.weight_bytes = static_cast<uint64_t>(d_.weights.bytes);
    plan.states = d_.lowering.states.states;
    plan.kernels = kernels();
    for (size_t i = 0; i < d_.lowering.schedules.size(); ++i) {
      const LoweredSchedule& schedule = d_.lowering.schedules[i];
      plan.schedules.push_back({schedule.shape.name, schedule.shape.entry, schedule.shape.most_rows,
                                phases(schedule, d_.source.used[i], d_.memory[i])});
      plan.arena_bytes = std::max(plan.arena_bytes, static_cast<uint64_t>(d_.memory[i].bytes));
    }
    if (!kind_of(d_.device).gpu)
      plan.scratch_bytes = static_cast<uint64_t>((d_.lowering.scratch_bytes + 127) / 64 * 64);
    return plan;
  }

 private:
  // With what they do with their arguments. Equal bodies have equal parameters, whatever the phase.
  std::vector<runtime::Kernel> kernels() const {
    std::vector<runtime::Kernel> all = d_.source.kernels;
    for (size_t s = 0; s < d_.lowering.schedules.size(); ++s) {
      const LoweredSchedule& schedule = d_.lowering.schedules[s];
      for (size_t i = 0; i < schedule.phases.size(); ++i) {
        const LoweredPhase& phase = schedule.phases[i];
        runtime::Kernel& kernel = all[d_.source.used[s][i]];
        kernel.scratch_bytes = static_cast<uint64_t>(phase.scratch_bytes);
        kernel.shared_bytes = static_cast<uint32_t>(phase.shared_bytes);
        kernel.parameters.clear();
        for (size_t a = 0; a < phase.arguments.size(); ++a)
          kernel.parameters.push_back(
              parameter(phase.arguments[a], phase.uses[a].access, schedule));
      }
    }
    return all;
  }

  runtime::Parameter parameter(const Buffer& buffer, Access access,
                               const LoweredSchedule& schedule) const {
    runtime::Parameter p{.access = access};
    const auto id = static_cast<ir::ValueId>(buffer.value);
    // One of these for each row of the value.
    const auto rows = [&](ir::ValueId value) {
      const bool last_rows = c_.module.tensor(value).shape[0].symbol == 'L';
      (last_rows ? p.bytes_per_logits_row : p.bytes_per_row) =
          static_cast<uint64_t>(ir::row_bytes(c_.module, value));
    };
    switch (buffer.kind) {
      case Buffer::Kind::weight:
        p.bytes = static_cast<uint64_t>(d_.lowering.layouts.at(id).piece_at(buffer.offset).bytes);
        break;
      case Buffer::Kind::state:
        p.bytes_per_position = d_.lowering.states.at(id).bytes_per_position;
        p.bytes = d_.lowering.states.at(id).fixed_bytes;
        break;
      case Buffer::Kind::activation:
        rows(id);
        break;
      case Buffer::Kind::temporary: {
        const Room& room = schedule.temporaries.at(buffer.value);
        p.bytes = static_cast<uint64_t>(room.fixed_bytes);
        p.bytes_per_row = static_cast<uint64_t>(room.bytes_per_row);
        break;
      }
      case Buffer::Kind::pinned:
        p.bytes = static_cast<uint64_t>(d_.lowering.pinned.at(buffer.value).fixed_bytes);
        break;
      case Buffer::Kind::logits:
        rows(c_.module.returns[0]);
        break;
      case Buffer::Kind::hidden:
        rows(c_.module.returns[1]);
        break;
    }
    return p;
  }

  std::vector<runtime::Phase> phases(const LoweredSchedule& schedule,
                                     const std::vector<uint32_t>& kernels,
                                     const MemoryPlan& memory) {
    std::vector<runtime::Phase> out;
    for (size_t i = 0; i < schedule.phases.size(); ++i) {
      const LoweredPhase& from = schedule.phases[i];
      runtime::Phase to;
      to.name = from.name;
      to.what = from.what;
      to.kernel = kernels[i];
      to.weight_bytes = static_cast<uint64_t>(from.weight_bytes);
      to.operations = from.macs;
      to.predicted_us = predict_us(from, predicted_target());
      to.blocks = static_cast<uint32_t>(from.blocks);
      to.rows_per_block = static_cast<uint32_t>(from.rows_per_block);
      to.shared_bytes = static_cast<uint32_t>(from.shared_bytes);
      for (const Buffer& buffer : from.arguments)
        to.arguments.push_back(argument(d_, buffer, memory));
      out.push_back(std::move(to));
    }
    return out;
  }

  // As Plan::predicted_for.
  const Target& predicted_target() const {
    const Target* best = nullptr;
    for (const Target& target : options_.targets)
      if (target.device == d_.device && (best == nullptr || target.family == best->family))
        best = &target;
    return *best;
  }

  const Compilation& c_;
  const DeviceCompilation& d_;
  const CompileOptions& options_;
};

}  // namespace

runtime::DevicePlan assemble_device_plan(const Compilation& compilation,
                                         const DeviceCompilation& device,
                                         const CompileOptions& options) {
  return DevicePlanAssembler(compilation, device, options).assemble();
}

absl::StatusOr<std::vector<runtime::Probe>> device_plan_probes(const Compilation& c,
                                                               const DeviceCompilation& d,
                                                               const ir::MatrixSource& source) {
  std::vector<runtime::Probe> all;
  for (const LoweredProbe& probe : d.lowering.probes) {
    const auto result = probe_result(c.module, probe.weight, probe.rows, c.probe_input, source);
    if (!result.ok()) return result.status();
    if (!*result) continue;
    const uint64_t results = argument(d, d.lowering.probe_results, d.memory.back()).offset;
    all.push_back({ir::to_string(c.module.weight(probe.weight).format),
                   c.module.value(probe.weight).name,
                   results + static_cast<uint64_t>(probe.first + (*result)->row) * sizeof(float),
                   (*result)->value, (*result)->tolerance});
  }
  return all;
}

std::vector<runtime::Fill> device_plan_fills(const Compilation& c, const DeviceCompilation& d) {
  std::vector<runtime::Fill> all;
  for (const auto& [id, layout] : d.lowering.layouts)
    for (runtime::Fill& fill : synthetic_fills(c.module.value(id).name, c.module.weight(id), layout,
                                               d.weights.offsets.at(id)))
      all.push_back(std::move(fill));
  return all;
}

}  // namespace sinter::codegen
