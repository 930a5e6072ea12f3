// dump: a model or a plan at any stage of its compilation.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/object_cache.h"
#include "ir/dot.h"
#include "ir/json.h"
#include "ir/text.h"
#include "ir/verifier.h"
#include "passes/pipeline.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/model_input.h"
#include "tools/model_options.h"
#include "tools/phase_tables.h"
#include "tools/plan_cache.h"
#include "tools/reference.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;

struct DumpOptions {
  std::string path;
  std::string synthetic;
  std::string stage;
  std::string format = "text";
  std::string target;
  std::string activations;
  std::vector<std::string> quantize;
  std::vector<std::string> arch_from;
  MtpOptions mtp;
  std::vector<std::string> without;
  bool check = false;
};

// What was printed, and what is wrong with it (empty: nothing).
struct Dump {
  std::string text;
  std::function<std::string()> check;
};

std::string known_stages() {
  std::string known = "import";
  for (const passes::Pass& pass : passes::pipeline()) known += fmt::format(", {}", pass.name);
  return known + ", final, kernels, hip, asm, memory, schedule";
}

bool is_known(const std::string& stage) {
  for (const char* name : {"import", "final", "kernels", "hip", "asm", "memory", "schedule"})
    if (stage == name) return true;
  return passes::find_pass(stage) != nullptr;
}

Error no_such_format(const DumpOptions& options, std::string_view formats) {
  return Error{fmt::format("--format {}: stage {} can be printed as {} only", options.format,
                           options.stage, formats)};
}

std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string check_json(const std::string& text) {
  return nlohmann::json::accept(text) ? "" : "it is not JSON";
}

std::string not_read_back() { return "the dot form is not read back; check text or json"; }

Dump dump_graph(const DumpOptions& options, const ir::Module& module) {
  if (options.format == "json") {
    const std::string text = ir::to_json(module).dump(2) + "\n";
    return {text, [text] { return check_json(text); }};
  }
  if (options.format == "dot") return {ir::to_dot(module), not_read_back};
  const std::string text = ir::print(module);
  return {
      text, [text] {
        const auto again = ir::parse(text, "the dump");
        if (!again.ok()) return std::string(again.status().message());
        if (const auto status = ir::verify(*again); !status.ok())
          return std::string(status.message());
        return std::string(ir::print(*again) == text ? "" : "what was parsed prints differently");
      }};
}

Result<codegen::Target> target_of(const DumpOptions& options) {
  if (options.target.empty()) {
    auto best = best_host_target();
    return best.ok() ? *best : codegen::targets().front();
  }
  const auto targets = codegen::parse_targets(options.target);
  if (!targets.ok()) return to_error(targets.status());
  return targets->back();
}

Result<Dump> dump_source(const DumpOptions& options, const std::string& source) {
  if (options.format != "text") return no_such_format(options, "text");
  const auto target = target_of(options);
  if (!target.ok()) return target.error();
  if (options.stage == "hip")
    return Dump{source, [source, target = *target] {
                  const auto object = codegen::compile_to_object(source, target);
                  return object.ok() ? std::string() : std::string(object.status().message());
                }};
  const auto assembly = codegen::compile_assembly(source, *target);
  if (!assembly.ok()) return to_error(assembly.status());
  return Dump{*assembly, [assembly = *assembly, source] {
                // Every phase of the source must be a label of the assembly.
                constexpr std::string_view kPhase = "SINTER_PHASE(";
                for (size_t at = source.find(kPhase); at != std::string::npos;
                     at = source.find(kPhase, at + 1)) {
                  const size_t begin = at + kPhase.size();
                  const std::string symbol = source.substr(begin, source.find(')', begin) - begin);
                  if (assembly.find("\n" + symbol + ":") == std::string::npos)
                    return fmt::format("kernel {} is not in the assembly", symbol);
                }
                return std::string();
              }};
}

// The names of the phases of every schedule.
template <class Schedule>
std::vector<std::vector<std::string>> names_of(const std::vector<Schedule>& schedules) {
  std::vector<std::vector<std::string>> names;
  for (const Schedule& schedule : schedules) {
    names.emplace_back();
    for (const auto& phase : schedule.phases) names.back().push_back(phase.name);
  }
  return names;
}

Result<Dump> dump_memory(const DumpOptions& options, const std::string& text,
                         const std::vector<std::vector<std::string>>& schedules) {
  if (options.format != "text") return no_such_format(options, "text");
  return Dump{text, [=] { return check_memory_text(text, schedules); }};
}

Result<Dump> dump_kernels(const DumpOptions& options, const KernelTable& kernels) {
  if (options.format == "dot") return no_such_format(options, "text and json");
  const std::string text =
      options.format == "json" ? json_text(kernels_json(kernels)) : kernels_text(kernels);
  if (options.format == "json") return Dump{text, [text] { return check_json(text); }};
  return Dump{text, [kernels] {
                for (const KernelUse& kernel : kernels.kernels)
                  if (std::ranges::count(kernel.phases, 0) == std::ssize(kernel.phases))
                    return fmt::format("kernel {} is never called", kernel.symbol);
                return std::string();
              }};
}

Result<Dump> dump_schedule(const DumpOptions& options, const runtime::DevicePlan& plan) {
  if (options.format == "dot") {
    return Dump{schedule_dot(plan), not_read_back};
  }
  if (options.format == "json") {
    const std::string text = json_text(schedule_json(plan));
    return Dump{text, [text] { return check_json(text); }};
  }
  const std::string text = schedule_text(plan);
  return Dump{text, [text, plan] { return check_schedule_text(text, plan); }};
}

std::vector<ScheduleKernels> kernels_of(const std::vector<runtime::Schedule>& schedules) {
  std::vector<ScheduleKernels> all;
  for (const runtime::Schedule& schedule : schedules) {
    auto& [name, kernels] = all.emplace_back(schedule.name, std::vector<uint32_t>());
    for (const runtime::Phase& phase : schedule.phases) kernels.push_back(phase.kernel);
  }
  return all;
}

// That of the target asked for, or the plan's first.
Result<const runtime::DevicePlan*> device_plan_of(const DumpOptions& options,
                                                  const runtime::Plan& plan) {
  if (options.target.empty()) return &plan.device_plans.front();
  const auto target = target_of(options);
  if (!target.ok()) return target.error();
  for (const runtime::DevicePlan& device : plan.device_plans)
    if (device.device == codegen::kind_of(target->device).name) return &device;
  return Error{fmt::format("{}: has nothing for {}; compile it with --target {}", options.path,
                           target->name, target->name)};
}

Result<Dump> dump_plan(const DumpOptions& options) {
  auto file = runtime::PlanFile::open(options.path, false);
  if (!file.ok()) return file.error();
  const auto device = device_plan_of(options, (*file)->plan());
  if (!device.ok()) return device.error();
  const runtime::DevicePlan& plan = **device;
  const auto section = [&](const runtime::Section& s) { return std::string((*file)->text(s)); };
  if (options.stage == "hip" || options.stage == "asm")
    return dump_source(options, section(plan.source));
  if (options.stage == "memory")
    return dump_memory(options, section(plan.memory), names_of(plan.schedules));
  if (options.stage == "schedule") return dump_schedule(options, plan);
  if (options.stage == "kernels")
    return dump_kernels(options, kernel_table(plan.kernels, kernels_of(plan.schedules)));
  if (options.stage == "final") {
    const auto module = ir::parse(section((*file)->plan().graph), options.path);
    if (!module.ok()) return to_error(module.status());
    return dump_graph(options, *module);
  }
  return Error{
      fmt::format("{}: a plan holds the graph after all passes only, which --stage final prints; "
                  "give the model "
                  "folder for --stage {}",
                  options.path, options.stage)};
}

Result<Dump> dump_model(const DumpOptions& options) {
  auto input = options.synthetic.empty()
                   ? open_model(options.path, options.quantize, options.arch_from, options.mtp)
                   : open_synthetic(options.synthetic, options.arch_from, options.mtp);
  if (!input.ok()) return input.error();
  if (options.stage == "import") return dump_graph(options, input->model.module);
  if (passes::find_pass(options.stage) != nullptr) {
    const auto module = module_after_pass(*input, options.stage);
    if (!module.ok()) return module.error();
    return dump_graph(options, *module);
  }
  const auto target = target_of(options);
  if (!target.ok()) return target.error();
  codegen::CompileOptions compile;
  compile.targets = {*target};
  compile.activations = activations_of(options.activations);
  compile.without = options.without;
  if (options.stage == "schedule") {
    const auto plan = compile_temporary(*input, compile);
    if (!plan.ok()) return plan.error();
    return dump_schedule(options, plan->file->plan().device_plans.front());
  }
  const auto compiled = codegen::lower_model(input->model, input->checkpoint.get(), compile);
  if (!compiled.ok()) return to_error(compiled.status());
  if (options.stage == "final") return dump_graph(options, compiled->module);
  const codegen::DeviceCompilation& device = compiled->devices.front();
  if (options.stage == "kernels") {
    std::vector<ScheduleKernels> schedules;
    for (size_t i = 0; i < device.source.used.size(); ++i)
      schedules.emplace_back(device.lowering.schedules[i].shape.name, device.source.used[i]);
    return dump_kernels(options, kernel_table(device.source.kernels, schedules));
  }
  if (options.stage == "memory")
    return dump_memory(options, device.memory_text(), names_of(device.lowering.schedules));
  return dump_source(options, device.source.text);
}

Result<int> dump(const Program& program, const DumpOptions& options) {
  if (options.path.empty() == options.synthetic.empty())
    return Error{"give one of MODEL, PLAN and --synthetic CONFIG.json"};
  if (!is_known(options.stage))
    return Error{
        fmt::format("--stage: \"{}\" is unknown; known: {}", options.stage, known_stages())};
  auto kind = InputKind::model;
  if (!options.path.empty()) {
    const auto found = kind_of_input(options.path);
    if (!found.ok()) return found.error();
    kind = *found;
  }
  if (kind == InputKind::plan && !options.activations.empty())
    return Error{fmt::format("{}: --activations is for models; a plan has its own", options.path)};
  if (kind == InputKind::plan && !options.arch_from.empty())
    return Error{fmt::format("{}: --arch-from is for models; a plan needs no description of one",
                             options.path)};
  if (kind == InputKind::plan && !options.without.empty())
    return Error{
        fmt::format("{}: --without is for models; a plan is compiled already", options.path)};
  if ((kind == InputKind::plan || !options.synthetic.empty()) && !options.quantize.empty())
    return Error{fmt::format("{}: --quantize is for model folders",
                             options.path.empty() ? options.synthetic : options.path)};
  const auto result = kind == InputKind::plan ? dump_plan(options) : dump_model(options);
  if (!result.ok()) return result.error();
  write_output(result->text);
  if (!options.check) return 0;
  const std::string wrong = result->check();
  note(printable(fmt::format("{}: stage {}: {}", program.name, options.stage,
                             wrong.empty() ? "checked" : "wrong: " + wrong)));
  return wrong.empty() ? 0 : kExitCheckFailed;
}

}  // namespace

void add_dump(CommandLine& line) {
  auto options = std::make_shared<DumpOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "dump",
      "Print a stage of a compilation. import: the graph as the model's file builds it; the name "
      "of "
      "a pass: the graph as it leaves it; final: the graph after all of them; kernels: every "
      "kernel "
      "and how often it is called; hip: their source; asm: their assembly; memory: where buffers "
      "lie and how long they live; schedule: the phases in order. The stages are " +
          known_stages() + ". A plan has no import and no single passes.",
      "sinter dump models/tiny-bonsai-1bit --stage fuse_epilogues --format dot",
      [&program, options] { return dump(program, *options); });
  app.add_option("MODEL|PLAN", options->path, "A model folder or a plan");
  app.add_option("--synthetic", options->synthetic, "Instead: a config.json without weights")
      ->type_name("FILE");
  app.add_option("--stage", options->stage, "What to print")->required();
  app.add_option("--format", options->format, "text; json where it makes sense; dot for graphs")
      ->check(CLI::IsMember({"text", "json", "dot"}))
      ->capture_default_str();
  app.add_option("--target", options->target,
                 "For kernels, hip, asm, memory and schedule: the target; by default the best of "
                 "this CPU");
  app.add_option("--activations", options->activations, "For a model: a8 (the default) or a16")
      ->check(CLI::IsMember({"a8", "a16"}));
  add_quantize_option(app, options->quantize);
  add_arch_option(app, options->arch_from);
  add_mtp_options(app, options->mtp, "Of a model: with its multi-token-prediction head");
  add_without_option(app, options->without);
  app.add_flag("--check", options->check,
               "Read back what was printed and verify it; exit code 1 when something is wrong");
}

}  // namespace sinter::tools
