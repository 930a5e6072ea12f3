#include "codegen/plan_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <utility>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/kernel_resources.h"
#include "codegen/compile/object_cache.h"
#include "codegen/device_plan.h"
#include "codegen/probe/input.h"
#include "codegen/probe/lower.h"
#include "codegen/schedule/join_phases.h"
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

// One row, the chunk, and what is between, of each entry. The first ones name the kernels.
std::vector<ScheduleShape> shapes_for(Device device, const std::vector<int64_t>& rows,
                                      int64_t chunk, bool mtp) {
  using Entry = runtime::Schedule::Entry;
  std::vector<ScheduleShape> shapes;
  const auto add = [&](Entry entry, const std::string& prefix) {
    shapes.push_back({prefix + "decode", entry, 1});
    if (chunk > 1) shapes.push_back({prefix + "prefill", entry, chunk, true});
    const std::vector<int64_t> all = rows.empty() ? default_rows(device) : rows;
    for (const int64_t most : std::set<int64_t>(all.begin(), all.end()))
      if (most > 1 && most < chunk)
        shapes.push_back({fmt::format("{}rows{}", prefix, most), entry, most});
  };
  add(Entry::main, "");
  if (mtp) add(Entry::mtp, "mtp_");
  return shapes;
}

absl::Status check_left_out(const std::vector<std::string>& names) {
  std::vector<std::string_view> optional;
  for (const passes::Pass& pass : passes::pipeline())
    if (pass.optional) optional.push_back(pass.name);
  optional.push_back(kJoinPhases);
  for (const std::string& name : names)
    if (std::ranges::find(optional, name) == optional.end())
      return absl::InvalidArgumentError(fmt::format(
          "--without: \"{}\" cannot be left out; what can: {}", name, fmt::join(optional, ", ")));
  return absl::OkStatus();
}

// Phases, source and memory of the graph on one kind of device.
absl::StatusOr<DeviceCompilation> lower_for(const DeviceKind& kind,
                                            const models::ImportedModel& model,
                                            const Compilation& c, const CompileOptions& options,
                                            std::vector<passes::Remark>& remarks) {
  DeviceCompilation d;
  d.device = kind.device;
  d.chunk = std::min(options.chunk > 0 ? options.chunk : kind.chunk, c.max_context);
  d.logits_rows = logits_rows_for(model.vocab_size, d.chunk);
  auto lowering =
      lower(c.module, d.device, options.activations,
            shapes_for(d.device, options.rows, d.chunk, !c.module.further.empty()), remarks,
            std::ranges::find(options.without, kJoinPhases) == options.without.end());
  if (!lowering.ok()) return lowering.status();
  d.lowering = *std::move(lowering);
  if (c.probe_input >= 0)
    if (auto status =
            lower_probes(c.module, d.device, options.activations, c.probe_input, d.lowering);
        !status.ok())
      return status;
  if (kind.gpu)
    if (auto status = check_shared_memory(d.lowering, d.device, options.targets); !status.ok())
      return status;
  d.source = assemble_source(d.lowering, c.module.name, options.persistent && kind.gpu);
  for (const LoweredSchedule& schedule : d.lowering.schedules) {
    const int64_t rows = schedule.shape.most_rows;
    auto memory =
        plan_memory(c.module, d.lowering, schedule, {rows, std::min(rows, d.logits_rows)});
    if (!memory.ok()) return memory.status();
    d.memory.push_back(*std::move(memory));
  }
  return d;
}

// What several devices read in the same layout is there once.
void place_weights(Compilation& c) {
  std::vector<WeightLayouts> layouts;
  for (const DeviceCompilation& d : c.devices) layouts.push_back(d.lowering.layouts);
  c.weight_sections = weight_sections(layouts);
  for (size_t i = 0; i < c.devices.size(); ++i)
    c.devices[i].weights = weight_places(c.weight_sections, i);
}

// Whether kernels wait for each other by themselves (codegen/device/gpu/phase.h).
bool awaits_phases(const std::vector<uint8_t>& ptx) {
  const std::string_view text(reinterpret_cast<const char*>(ptx.data()), ptx.size());
  return text.find("griddepcontrol.wait") != std::string_view::npos;
}

// The steps that make a plan's file, in the order in which they are taken.
class PlanFileBuilder {
 public:
  // `checkpoint` is null for a synthetic model.
  PlanFileBuilder(const models::ImportedModel& model, const frontends::Checkpoint* checkpoint,
                  const Compilation& compilation, const CompileOptions& options,
                  runtime::PlanWriter& writer)
      : model_(model),
        checkpoint_(checkpoint),
        c_(compilation),
        options_(options),
        writer_(writer) {}

  void describe_model(const std::string& name) {
    plan_.model = name;
    plan_.architecture = model_.architecture;
    plan_.activations = options_.activations == Activations::a8 ? "a8" : "a16";
    plan_.compiler = fmt::format("sinter {} with Clang {}", SINTER_VERSION, clang_version());
    plan_.vocab_size = model_.vocab_size;
    if (!c_.module.further.empty())
      plan_.hidden_size = c_.module.tensor(c_.module.returns[1]).shape[1].value;
    plan_.layers = model_.layers;
    plan_.max_context = c_.max_context;
    for (const models::EndToken& end : model_.ends) {
      plan_.eos_ids.push_back(end.id);
      plan_.ends.push_back({end.id, end.text, end.source});
    }
    plan_.bos_id = model_.bos_id;
    plan_.temperature = model_.generation.temperature;
    plan_.top_p = model_.generation.top_p;
    plan_.top_k = model_.generation.top_k;
    for (const auto& [id, layout] : c_.devices.front().lowering.layouts)
      if (c_.module.weights.at(id).constant.empty())
        plan_.parameters += c_.module.weight(id).elements();
    if (checkpoint_ == nullptr) plan_.seed = options_.seed;
  }

  void add_remarks() {
    for (const passes::Remark& r : c_.remarks)
      plan_.remarks.push_back(
          {r.pass, r.accepted, r.subject, r.reason, r.bytes_saved, r.launches_saved});
  }

  // Numbers that are none would go on to every logit.
  absl::Status check_numbers() {
    if (checkpoint_ == nullptr) return absl::OkStatus();
    for (const auto& [id, layout] : c_.devices.front().lowering.layouts)
      for (const std::string& name : c_.module.weights.at(id).sources)
        if (auto status = checkpoint_->check_finite(name); !status.ok()) return status;
    return absl::OkStatus();
  }

  // With what makes the weights of a synthetic plan, and what probes of others must compute.
  absl::Status add_device_plans() {
    for (const DeviceCompilation& device : c_.devices) {
      runtime::DevicePlan& plan =
          plan_.device_plans.emplace_back(assemble_device_plan(c_, device, options_));
      if (checkpoint_ == nullptr) {
        plan.fills = device_plan_fills(c_, device);
        continue;
      }
      auto probes = device_plan_probes(c_, device, *checkpoint_);
      if (!probes.ok()) return probes.status();
      plan.probes = *std::move(probes);
    }
    return absl::OkStatus();
  }

  // For every target.
  absl::Status compile_kernels() {
    const std::string ptxas = find_ptxas();
    for (size_t i = 0; i < options_.targets.size(); ++i) {
      const Target& target = options_.targets[i];
      uint32_t device = 0;
      while (c_.devices[device].device != target.device) ++device;
      const KernelSource& source = c_.devices[device].source;
      report(options_,
             fmt::format("compiling {} kernels for {}", source.kernels.size(), target.name),
             static_cast<double>(i) / static_cast<double>(options_.targets.size()));
      if (auto status = add_code(target, device, ptxas); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status add_graph() { return add(ir::print(c_.module), plan_.graph); }

  // Of the checkpoint.
  absl::Status add_text_files() {
    if (checkpoint_ == nullptr) return absl::OkStatus();
    absl::Status status = add(checkpoint_->tokenizer_json, plan_.tokenizer);
    if (status.ok()) status = add(checkpoint_->tokenizer_config_json, plan_.tokenizer_config);
    if (status.ok()) status = add(checkpoint_->chat_template, plan_.chat_template);
    return status;
  }

  // Of the kernels, with where buffers lie, for people.
  absl::Status add_sources() {
    absl::Status status;
    for (size_t i = 0; i < c_.devices.size() && status.ok(); ++i) {
      runtime::DevicePlan& device = plan_.device_plans[i];
      status = add(c_.devices[i].source.text, device.source);
      if (status.ok()) status = add(c_.devices[i].memory_text(), device.memory);
    }
    return status;
  }

  absl::Status pack_weights() {
    if (checkpoint_ == nullptr) return absl::OkStatus();
    for (const WeightSection& weights : c_.weight_sections) {
      std::vector<std::string_view> readers;
      for (const size_t reader : weights.readers)
        readers.push_back(plan_.device_plans[reader].device);
      const std::string what = fmt::format("packing weights for {}", fmt::join(readers, " and "));
      const auto section =
          write_section(writer_, c_.module, weights, *checkpoint_,
                        [&](double fraction) { report(options_, what, fraction); });
      if (!section.ok()) return section.status();
      for (const size_t reader : weights.readers)
        plan_.device_plans[reader].weights_sections.push_back(*section);
    }
    return absl::OkStatus();
  }

  // What was read while it changed is of no model.
  absl::Status check_model_unchanged() {
    report(options_, "writing", 1);
    if (auto unchanged = runtime::check_unchanged(model_.sources); !unchanged.ok())
      return absl::AbortedError(unchanged.error().message);
    return absl::OkStatus();
  }

  // The file takes the place of the old one.
  absl::StatusOr<runtime::Plan> finish() {
    auto size = writer_.finish(plan_);
    if (!size.ok()) return to_absl(size.error());
    return std::move(plan_);
  }

 private:
  // Nothing of an empty text.
  absl::Status add(std::string_view text, runtime::Section& section) {
    if (text.empty()) return absl::OkStatus();
    auto added = writer_.add(text);
    if (!added.ok()) return to_absl(added.error());
    section = *added;
    return absl::OkStatus();
  }

  absl::Status add(const std::vector<uint8_t>& code, runtime::Section& section) {
    auto added = writer_.add(std::span<const uint8_t>(code));
    if (!added.ok()) return to_absl(added.error());
    section = *added;
    return absl::OkStatus();
  }

  // The code of one target, and where there is ptxas, what that makes of PTX.
  absl::Status add_code(const Target& target, uint32_t device, const std::string& ptxas) {
    const KernelSource& source = c_.devices[device].source;
    const TargetFamily& family = family_of(target);
    runtime::CodeObject code;
    code.target = target.name;
    code.family = target.family;
    code.features.assign(target.features.begin(), target.features.end());
    code.machines.assign(target.machines.begin(), target.machines.end());
    code.device_plan = device;
    // A kernel of that name that does nothing.
    const std::string mark =
        fmt::format("\nSINTER_PHASE({}) {{}}\n", runtime::code_mark(plan_, code));
    auto object = compile_shared(source.text + mark, target);
    if (!object.ok()) return object.status();
    if (auto status = add(*object, code.section); !status.ok()) return status;
    code.early_launch = family.ptx && awaits_phases(*object);
    if (family.has_metadata) {
      auto resources = kernel_resources(*object, source.kernels);
      if (!resources.ok()) return resources.status();
      code.resources = with_occupancy(*std::move(resources), target);
    }
    plan_.code.push_back(code);
    if (!family.ptx || ptxas.empty()) return absl::OkStatus();
    auto cubin = assemble_ptx(ptxas, *object, target, source.kernels);
    if (!cubin.ok()) return cubin.status();
    if (auto status = add(cubin->code, code.section); !status.ok()) return status;
    code.resources = with_occupancy(std::move(cubin->resources), target);
    plan_.code.push_back(std::move(code));
    return absl::OkStatus();
  }

  static std::vector<runtime::KernelResources> with_occupancy(
      std::vector<runtime::KernelResources> kernels, const Target& target) {
    for (runtime::KernelResources& kernel : kernels)
      kernel.occupancy = static_cast<uint32_t>(occupancy(target, kernel.vgprs));
    return kernels;
  }

  const models::ImportedModel& model_;
  const frontends::Checkpoint* checkpoint_;
  const Compilation& c_;
  const CompileOptions& options_;
  runtime::PlanWriter& writer_;
  runtime::Plan plan_;
};

}  // namespace

std::vector<int64_t> default_rows(Device device) {
  return device == Device::host ? std::vector<int64_t>{32} : std::vector<int64_t>{8, 16, 32};
}

absl::StatusOr<Compilation> lower_model(const models::ImportedModel& model,
                                        const ir::MatrixSource* source,
                                        const CompileOptions& options) {
  if (auto status = check_left_out(options.without); !status.ok()) return status;
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
  auto module = passes::run_pipeline(std::move(graph), context, {}, options.without);
  if (!module.ok()) return module.status();
  c.module = *std::move(module);
  if (source != nullptr) c.probe_input = add_probe_input(c.module);
  std::vector<passes::Remark> again;  // every device says the same
  for (const DeviceKind& kind : device_kinds()) {
    const auto wanted = [&](const Target& target) { return target.device == kind.device; };
    if (std::none_of(options.targets.begin(), options.targets.end(), wanted)) continue;
    auto lowered = lower_for(kind, model, c, options, c.devices.empty() ? context.remarks : again);
    if (!lowered.ok()) return lowered.status();
    c.devices.push_back(*std::move(lowered));
  }
  place_weights(c);
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

absl::StatusOr<runtime::Plan> compile_plan(const models::ImportedModel& model,
                                           const frontends::Checkpoint* checkpoint,
                                           const std::string& model_name,
                                           const CompileOptions& options, const std::string& path) {
  // An unwritable path is said before any work is done.
  auto writer = runtime::PlanWriter::create(path);
  if (!writer.ok()) return to_absl(writer.error());
  auto compiled = lower_model(model, checkpoint, options);
  if (!compiled.ok()) return compiled.status();
  PlanFileBuilder file(model, checkpoint, *compiled, options, **writer);
  file.describe_model(model_name);
  file.add_remarks();
  for (const auto step : {
           &PlanFileBuilder::check_numbers,
           &PlanFileBuilder::add_device_plans,
           &PlanFileBuilder::compile_kernels,
           &PlanFileBuilder::add_graph,
           &PlanFileBuilder::add_text_files,
           &PlanFileBuilder::add_sources,
           &PlanFileBuilder::pack_weights,
           &PlanFileBuilder::check_model_unchanged,
       })
    if (auto status = (file.*step)(); !status.ok()) return status;
  return file.finish();
}

}  // namespace sinter::codegen
