#include "tools/compiler_commands.h"

#include <fmt/format.h>

#include <chrono>
#include <map>
#include <set>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/instruction_count.h"
#include "codegen/compile/object_cache.h"
#include "codegen/plan_builder.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/state_format.h"
#include "runtime/support/temporary_file.h"
#include "tools/model_input.h"
#include "tools/plan_cache.h"
#include "tools/process.h"
#include "tools/reference.h"

namespace sinter::tools {
namespace {

using runtime::Result;

Result<std::vector<runtime::PlanRemark>> explain_model(const PlanRequest& request) {
  const auto input = open_model(request.model, request.quantize, request.arch_from, request.mtp);
  if (!input.ok()) return input.error();
  codegen::CompileOptions options;
  options.targets = {codegen::targets().front()};
  options.activations = activations_of(request.activations);
  options.kv_format = kv_format_of(request.kv_format);
  const auto compiled = codegen::lower_model(input->model, input->checkpoint.get(), options);
  if (!compiled.ok()) return to_error(compiled.status());
  std::vector<runtime::PlanRemark> remarks;
  for (const passes::Remark& r : compiled->remarks)
    remarks.push_back({r.pass, r.accepted, r.subject, r.reason, r.bytes_saved, r.launches_saved});
  return remarks;
}

std::optional<Rates> target_rates(std::string_view name) {
  for (const codegen::Target& target : codegen::targets())
    if (target.name == name) return Rates{target.bandwidth_gbs, target.gmacs};
  return std::nullopt;
}

// Kernels that multiply in decode, a column for each GPU target of the plan.
Result<std::string> count_instructions(const runtime::PlanFile& file) {
  const runtime::Plan& plan = file.plan();
  std::string text;
  for (size_t i = 0; i < plan.device_plans.size(); ++i) {
    const runtime::DevicePlan& device = plan.device_plans[i];
    if (device.device == "host") continue;
    std::vector<std::string> columns;
    std::map<std::string, std::string> assemblies;
    for (const runtime::CodeObject& code : plan.code) {
      if (code.device_plan != i || assemblies.contains(code.target)) continue;
      const auto targets = codegen::parse_targets(code.target);
      if (!targets.ok()) return to_error(targets.status());
      auto assembly = codegen::compile_assembly(file.text(device.source), targets->front());
      if (!assembly.ok()) return to_error(assembly.status());
      columns.push_back(code.target);
      assemblies[code.target] = *std::move(assembly);
    }
    text += fmt::format("\n{:<40}", "instructions per byte of weights");
    for (const std::string& column : columns) text += fmt::format(" {:>8}", column);
    text += "\n";
    std::set<uint32_t> seen;
    for (const runtime::Phase& phase : device.phases_for(runtime::Schedule::Entry::main, 1)) {
      if (phase.weight_bytes == 0 || phase.operations == 0 || !seen.insert(phase.kernel).second)
        continue;
      const std::string& symbol = device.kernels[phase.kernel].symbol;
      text += fmt::format("  {:<38}", symbol);
      for (const std::string& column : columns)
        text += fmt::format(" {:>8.2f}",
                            codegen::instructions_per_weight_byte(assemblies.at(column), symbol));
      text += "\n";
    }
  }
  return text;
}

Result<runtime::TokenizerFiles> gguf_tokenizer(const std::string& path) {
  auto files = frontends::open_gguf_tokenizer(path);
  if (!files.ok()) return to_error(files.status());
  return *std::move(files);
}

DoctorLine try_the_compiler(const codegen::Target& target) {
  const auto start = std::chrono::steady_clock::now();
  const std::string name =
      fmt::format("compiler: {}, Clang {}", SINTER_VERSION, codegen::clang_version());
  const auto object =
      codegen::compile_to_object("extern \"C\" int probe() { return 1; }\n", target);
  if (!object.ok())
    return {false, fmt::format("{}: {}", name, std::string(object.status().message()))};
  if (const auto shared = codegen::link_shared(*object, target); !shared.ok())
    return {false, fmt::format("{}: {}", name, std::string(shared.status().message()))};
  return {
      true,
      fmt::format(
          "{}: compiles and links for {} ({:.0f} ms)", name, target.name,
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() * 1e3)};
}

std::vector<DoctorLine> examine_compiler() {
  std::vector<DoctorLine> lines;
  const auto target = best_host_target();
  lines.push_back({target.ok(), target.ok() ? fmt::format("target for this CPU: {}", target->name)
                                            : target.error().message});
  lines.push_back(try_the_compiler(target.ok() ? *target : codegen::targets().front()));
  const std::string temporary = runtime::temporary_root();
  lines.push_back(
      {make_writable_folder(temporary), fmt::format("temporary folder: {}", temporary)});
  const auto cache = cache_folder();
  lines.push_back({cache && make_writable_folder(*cache),
                   fmt::format("cache of plans: {}", cache.value_or("neither XDG_CACHE_HOME nor "
                                                                    "HOME says where"))});
  return lines;
}

}  // namespace

void add_compiler(Program& program) {
  codegen::on_llvm_failure(end_for_llvm);
  program.compile_model = compile_for_device;
  program.reference_logits = reference_logits;
  program.explain_model = explain_model;
  program.gguf_tokenizer = gguf_tokenizer;
  program.target_rates = target_rates;
  for (const ir::StateFormat& format : ir::kStateFormats)
    program.kv_formats.emplace_back(ir::name(format.dtype));
  program.count_instructions = count_instructions;
  program.examine_compiler = examine_compiler;
}

}  // namespace sinter::tools
