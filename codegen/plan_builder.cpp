#include "codegen/plan_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <utility>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/kernel_resources.h"
#include "codegen/compile/object_cache.h"
#include "codegen/layouts/synthetic_fills.h"
#include "codegen/probe/input.h"
#include "codegen/probe/lower.h"
#include "ir/state_format.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "runtime/plan/file.h"

namespace sinter::codegen {

namespace {

absl::Status to_absl(const runtime::Error& error) { return absl::UnavailableError(error.message); }

void report(const CompileOptions& options, std::string_view what, double fraction) {
  if (options.progress) options.progress(what, fraction);
}

// A logits buffer of at most 64 MB, at least one row.
int64_t logits_rows_for(int64_t vocab_size, int64_t chunk) {
  return std::clamp<int64_t>((int64_t{64} << 20) / (vocab_size * 4), 1, chunk);
}

// Seconds for reading the weights and multiplying, whichever takes longer, plus a barrier.
double predict_us(const LoweredPhase& phase, const Target& target) {
  constexpr double kBarrierUs = 1.0;
  const double read = static_cast<double>(phase.weight_bytes) / target.bandwidth_gbs / 1e3;
  const double multiply = phase.macs / target.gmacs / 1e3;
  return std::max(read, multiply) + kBarrierUs;
}

class PlanAssembler {
 public:
  PlanAssembler(const Compilation& compilation, const DeviceCompilation& device,
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

  absl::StatusOr<std::vector<runtime::Probe>> probes(const ir::MatrixSource& source) const {
    std::vector<runtime::Probe> all;
    for (const LoweredProbe& probe : d_.lowering.probes) {
      const auto result = probe_result(c_.module, probe.weight, probe.rows, c_.probe_input, source);
      if (!result.ok()) return result.status();
      if (!*result) continue;
      const uint64_t results = argument(d_.lowering.probe_results, d_.memory.back()).offset;
      all.push_back({ir::to_string(c_.module.weight(probe.weight).format),
                     c_.module.value(probe.weight).name,
                     results + static_cast<uint64_t>(probe.first + (*result)->row) * sizeof(float),
                     (*result)->value, (*result)->tolerance});
    }
    return all;
  }

  // What makes the weights of a synthetic plan.
  std::vector<runtime::Fill> fills() const {
    std::vector<runtime::Fill> all;
    for (const auto& [id, layout] : d_.lowering.layouts)
      for (runtime::Fill& fill : synthetic_fills(c_.module.value(id).name, c_.module.weight(id),
                                                 layout, d_.weights.offsets.at(id)))
        all.push_back(std::move(fill));
    return all;
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
      for (const Buffer& buffer : from.arguments) to.arguments.push_back(argument(buffer, memory));
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

  runtime::Argument argument(const Buffer& buffer, const MemoryPlan& memory) const {
    using Region = runtime::Argument::Region;
    const auto id = static_cast<ir::ValueId>(buffer.value);
    switch (buffer.kind) {
      case Buffer::Kind::weight:
        return {Region::weights, static_cast<uint64_t>(d_.weights.offsets.at(id) + buffer.offset),
                0};
      case Buffer::Kind::state:
        return {Region::state, 0, d_.lowering.states.numbers.at(id)};
      case Buffer::Kind::logits:
        return {Region::logits, 0, 0};
      case Buffer::Kind::activation:
      case Buffer::Kind::temporary:
      case Buffer::Kind::pinned:
        break;
    }
    return {Region::arena,
            static_cast<uint64_t>(memory.placements.at({buffer.kind, buffer.value}).offset), 0};
  }

  const Compilation& c_;
  const DeviceCompilation& d_;
  const CompileOptions& options_;
};

// Numbers that are none would go on to every logit.
absl::Status check_finite(const ir::Module& module, const Lowering& lowering,
                          const frontends::Checkpoint& checkpoint) {
  for (const auto& [id, layout] : lowering.layouts)
    for (const std::string& name : module.weights.at(id).sources)
      if (auto status = checkpoint.check_finite(name); !status.ok()) return status;
  return absl::OkStatus();
}

// Whether the blocks of all phases find room on the targets that are such GPUs.
absl::Status check_shared_memory(const Lowering& lowering, Device device,
                                 const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    if (target.device != device) continue;
    for (const LoweredSchedule& schedule : lowering.schedules)
      for (const LoweredPhase& phase : schedule.phases)
        if (phase.shared_bytes > target.shared_bytes)
          return absl::UnimplementedError(fmt::format(
              "phase \"{}\" ({}): a block needs {} bytes of shared memory, of which {} has {}; "
              "compile for other targets",
              phase.name, phase.summary, phase.shared_bytes, target.name, target.shared_bytes));
  }
  return absl::OkStatus();
}

// One row, the chunk, and what is between. The first ones name the kernels.
std::vector<ScheduleShape> shapes_for(Device device, const std::vector<int64_t>& rows,
                                      int64_t chunk) {
  constexpr auto kMain = runtime::Schedule::Entry::main;
  std::vector<ScheduleShape> shapes = {{"decode", kMain, 1}};
  if (chunk > 1) shapes.push_back({"prefill", kMain, chunk});
  const std::vector<int64_t> all = rows.empty() ? default_rows(device) : rows;
  for (const int64_t most : std::set<int64_t>(all.begin(), all.end()))
    if (most > 1 && most < chunk) shapes.push_back({fmt::format("rows{}", most), kMain, most});
  return shapes;
}

// Whether kernels wait for each other by themselves (codegen/device/gpu/phase.h).
bool awaits_phases(const std::vector<uint8_t>& ptx) {
  const std::string_view text(reinterpret_cast<const char*>(ptx.data()), ptx.size());
  return text.find("griddepcontrol.wait") != std::string_view::npos;
}

}  // namespace

std::vector<int64_t> default_rows(Device device) {
  return device == Device::host ? std::vector<int64_t>{32} : std::vector<int64_t>{8, 16, 32};
}

absl::StatusOr<Compilation> lower_model(const models::ImportedModel& model,
                                        const ir::MatrixSource* source,
                                        const CompileOptions& options) {
  Compilation c;
  const int64_t longest = model.max_positions;
  c.max_context = options.max_context > 0 ? options.max_context : std::min<int64_t>(longest, 32768);
  if (c.max_context > longest)
    return absl::InvalidArgumentError(
        fmt::format("--max-context {} is more than the {} positions that the model supports",
                    c.max_context, longest));
  passes::PassContext context;
  context.source = source;
  report(options, "passes", 0);
  ir::Module graph = model.module;
  ir::set_state_format(graph, options.kv_format);
  auto module = passes::run_pipeline(std::move(graph), context);
  if (!module.ok()) return module.status();
  c.module = *std::move(module);
  if (source != nullptr) c.probe_input = add_probe_input(c.module);
  std::vector<passes::Remark> again;  // every device says the same
  for (const DeviceKind& kind : device_kinds()) {
    const Device device = kind.device;
    const auto wanted = [&](const Target& target) { return target.device == device; };
    if (std::none_of(options.targets.begin(), options.targets.end(), wanted)) continue;
    DeviceCompilation d;
    d.device = device;
    const int64_t chunk = options.chunk > 0 ? options.chunk : kind.chunk;
    d.chunk = std::min(chunk, c.max_context);
    d.logits_rows = logits_rows_for(model.vocab_size, d.chunk);
    const std::vector<ScheduleShape> shapes = shapes_for(device, options.rows, d.chunk);
    auto lowering = lower(c.module, device, options.activations, shapes,
                          c.devices.empty() ? context.remarks : again);
    if (!lowering.ok()) return lowering.status();
    d.lowering = *std::move(lowering);
    if (c.probe_input >= 0)
      if (auto status =
              lower_probes(c.module, device, options.activations, c.probe_input, d.lowering);
          !status.ok())
        return status;
    if (kind.gpu)
      if (auto status = check_shared_memory(d.lowering, device, options.targets); !status.ok())
        return status;
    d.source = assemble_source(d.lowering, c.module.name, options.persistent && kind.gpu);
    for (const LoweredSchedule& schedule : d.lowering.schedules) {
      const int64_t rows = schedule.shape.most_rows;
      auto memory =
          plan_memory(c.module, d.lowering, schedule, {rows, std::min(rows, d.logits_rows)});
      if (!memory.ok()) return memory.status();
      d.memory.push_back(*std::move(memory));
    }
    c.devices.push_back(std::move(d));
  }
  std::vector<WeightLayouts> layouts;
  for (const DeviceCompilation& d : c.devices) layouts.push_back(d.lowering.layouts);
  c.weight_sections = weight_sections(layouts);
  for (size_t i = 0; i < c.devices.size(); ++i)
    c.devices[i].weights = weight_places(c.weight_sections, i);
  c.remarks = std::move(context.remarks);
  return c;
}

std::string DeviceCompilation::memory_text() const {
  std::string text;
  for (size_t i = 0; i < memory.size(); ++i) {
    const LoweredSchedule& schedule = lowering.schedules[i];
    text += (i == 0 ? "" : "\n") + schedule.shape.name + ": " + print_memory(memory[i], schedule);
  }
  return text;
}

runtime::DevicePlan assemble_device_plan(const Compilation& compilation,
                                         const DeviceCompilation& device,
                                         const CompileOptions& options) {
  return PlanAssembler(compilation, device, options).assemble();
}

absl::StatusOr<runtime::Plan> compile_plan(const models::ImportedModel& model,
                                           const frontends::Checkpoint* checkpoint,
                                           const std::string& model_name,
                                           const CompileOptions& options, const std::string& path) {
  // An unwritable path is said before any work is done.
  auto writer = runtime::PlanWriter::create(path);
  if (!writer.ok()) return to_absl(writer.error());
  auto compiled = lower_model(model, checkpoint, options);
  if (!compiled.ok()) return compiled.status();
  const Compilation& c = *compiled;
  if (checkpoint != nullptr)
    if (auto status = check_finite(c.module, c.devices.front().lowering, *checkpoint); !status.ok())
      return status;

  runtime::Plan plan;
  plan.model = model_name;
  plan.architecture = model.architecture;
  plan.activations = options.activations == Activations::a8 ? "a8" : "a16";
  plan.compiler = fmt::format("sinter {} with Clang {}", SINTER_VERSION, clang_version());
  plan.vocab_size = model.vocab_size;
  plan.layers = model.layers;
  plan.max_context = c.max_context;
  for (const models::EndToken& end : model.ends) {
    plan.eos_ids.push_back(end.id);
    plan.ends.push_back({end.id, end.text, end.source});
  }
  plan.bos_id = model.bos_id;
  plan.temperature = model.generation.temperature;
  plan.top_p = model.generation.top_p;
  plan.top_k = model.generation.top_k;
  for (const passes::Remark& r : c.remarks)
    plan.remarks.push_back(
        {r.pass, r.accepted, r.subject, r.reason, r.bytes_saved, r.launches_saved});
  for (const auto& [id, layout] : c.devices.front().lowering.layouts)
    if (c.module.weights.at(id).constant.empty()) plan.parameters += c.module.weight(id).elements();
  if (checkpoint == nullptr) plan.seed = options.seed;
  for (const DeviceCompilation& device : c.devices) {
    PlanAssembler assembler(c, device, options);
    plan.device_plans.push_back(assembler.assemble());
    if (checkpoint == nullptr) {
      plan.device_plans.back().fills = assembler.fills();
      continue;
    }
    auto probes = assembler.probes(*checkpoint);
    if (!probes.ok()) return probes.status();
    plan.device_plans.back().probes = *std::move(probes);
  }

  const std::string ptxas = find_ptxas();
  for (size_t i = 0; i < options.targets.size(); ++i) {
    const Target& target = options.targets[i];
    uint32_t device = 0;
    while (c.devices[device].device != target.device) ++device;
    const KernelSource& source = c.devices[device].source;
    report(options, fmt::format("compiling {} kernels for {}", source.kernels.size(), target.name),
           static_cast<double>(i) / static_cast<double>(options.targets.size()));
    runtime::CodeObject code;
    code.target = target.name;
    code.family = target.family;
    code.features.assign(target.features.begin(), target.features.end());
    code.machines.assign(target.machines.begin(), target.machines.end());
    code.device_plan = device;
    // A kernel of that name that does nothing.
    const std::string mark =
        fmt::format("\nSINTER_PHASE({}) {{}}\n", runtime::code_mark(plan, code));
    auto object = compile_shared(source.text + mark, target);
    if (!object.ok()) return object.status();
    auto section = (*writer)->add(std::span<const uint8_t>(*object));
    if (!section.ok()) return to_absl(section.error());
    code.section = *section;
    code.early_launch = target.family == "nvptx" && awaits_phases(*object);
    if (target.family == "amdgpu") {
      auto resources = kernel_resources(*object, source.kernels);
      if (!resources.ok()) return resources.status();
      code.resources = *std::move(resources);
      for (runtime::KernelResources& kernel : code.resources)
        kernel.occupancy = static_cast<uint32_t>(occupancy(target, kernel.vgprs));
    }
    plan.code.push_back(code);
    if (target.family == "nvptx" && !ptxas.empty()) {
      auto cubin = assemble_ptx(ptxas, *object, target, source.kernels);
      if (!cubin.ok()) return cubin.status();
      section = (*writer)->add(std::span<const uint8_t>(cubin->code));
      if (!section.ok()) return to_absl(section.error());
      code.section = *section;
      code.resources = std::move(cubin->resources);
      for (runtime::KernelResources& kernel : code.resources)
        kernel.occupancy = static_cast<uint32_t>(occupancy(target, kernel.vgprs));
      plan.code.push_back(std::move(code));
    }
  }

  const auto add_text = [&](const std::string& text, runtime::Section& section) -> absl::Status {
    if (text.empty()) return absl::OkStatus();
    auto added = (*writer)->add(std::string_view(text));
    if (!added.ok()) return to_absl(added.error());
    section = *added;
    return absl::OkStatus();
  };
  absl::Status status = add_text(ir::print(c.module), plan.graph);
  if (status.ok() && checkpoint != nullptr) {
    status = add_text(checkpoint->tokenizer_json, plan.tokenizer);
    if (status.ok()) status = add_text(checkpoint->tokenizer_config_json, plan.tokenizer_config);
    if (status.ok()) status = add_text(checkpoint->chat_template, plan.chat_template);
  }
  for (size_t i = 0; i < c.devices.size() && status.ok(); ++i) {
    runtime::DevicePlan& device = plan.device_plans[i];
    status = add_text(c.devices[i].source.text, device.source);
    if (status.ok()) status = add_text(c.devices[i].memory_text(), device.memory);
  }
  for (const WeightSection& weights : c.weight_sections) {
    if (!status.ok() || checkpoint == nullptr) break;
    std::vector<std::string_view> readers;
    for (const size_t reader : weights.readers) readers.push_back(plan.device_plans[reader].device);
    const std::string what = fmt::format("packing weights for {}", fmt::join(readers, " and "));
    const auto section = write_section(**writer, c.module, weights, *checkpoint,
                                       [&](double fraction) { report(options, what, fraction); });
    status = section.status();
    if (!status.ok()) break;
    for (const size_t reader : weights.readers)
      plan.device_plans[reader].weights_sections.push_back(*section);
  }
  if (!status.ok()) return status;
  report(options, "writing", 1);
  if (auto unchanged = runtime::check_unchanged(model.sources); !unchanged.ok())
    return absl::AbortedError(unchanged.error().message);
  auto size = (*writer)->finish(plan);
  if (!size.ok()) return to_absl(size.error());
  return plan;
}

}  // namespace sinter::codegen
