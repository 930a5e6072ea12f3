#include "tools/model_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "codegen/targets/target.h"
#include "frontends/json_file.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/state_format.h"
#include "runtime/host/device.h"
#include "tools/architectures.h"
#include "tools/terminal.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;
namespace fs = std::filesystem;

namespace {

// The folder's own name, however the path to it is written.
std::string name_of_folder(const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(folder, error);
  const std::string name = (error ? folder : whole).filename().string();
  return name.empty() ? "model" : name;
}

void show_notes(const std::vector<std::string>& notes) {
  for (const std::string& text : notes) note(printable(text));
}

// The checkpoint, quantized as the rules say when its matrices are asked for.
runtime::Status quantize(const std::vector<frontends::QuantizeRule>& rules, ModelInput& input) {
  auto choice = frontends::choose_quantization(*input.checkpoint, rules);
  if (!choice.ok()) return to_error(choice.status());
  auto quantized =
      std::make_unique<frontends::QuantizedCheckpoint>(*input.checkpoint, *std::move(choice));
  quantized->progress = [progress = std::make_shared<Progress>()](double fraction) {
    throw_if_interrupted();
    progress->update("quantizing", fraction);
  };
  input.quantized = quantized.get();
  input.checkpoint = std::move(quantized);
  return runtime::Done{};
}

}  // namespace

Result<std::vector<frontends::QuantizeRule>> parse_quantize_rules(
    const std::vector<std::string>& texts) {
  std::vector<frontends::QuantizeRule> rules;
  for (const std::string& text : texts) {
    auto rule = frontends::parse_quantize_rule(text);
    if (!rule.ok()) return to_error(rule.status());
    rules.push_back(*std::move(rule));
  }
  return rules;
}

Result<ModelInput> open_model(const std::string& path,
                              const std::vector<std::string>& quantize_texts,
                              const std::vector<std::string>& arch_from, const MtpOptions& mtp) {
  const auto rules = parse_quantize_rules(quantize_texts);
  if (!rules.ok()) return rules.error();
  const auto own = own_families(arch_from);
  if (!own.ok()) return own.error();
  ModelInput input;
  auto checkpoint = frontends::open_checkpoint(path, mtp.from);
  if (!checkpoint.ok()) return to_error(checkpoint.status());
  input.checkpoint = *std::move(checkpoint);
  show_notes(input.checkpoint->notes);
  if (!rules->empty())
    if (auto status = quantize(*rules, input); !status.ok()) return status.error();
  auto model = models::import_checkpoint(*input.checkpoint, *own, {.mtp = mtp.wanted});
  if (!model.ok()) return to_error(model.status());
  input.model = *std::move(model);
  show_notes(input.model.notes);
  if (!arch_from.empty() &&
      std::ranges::find(*own, input.model.architecture, &models::Family::model_type) == own->end())
    note(printable(fmt::format("--arch-from describes nothing of {}, which {} is",
                               input.model.architecture, path)));
  input.name = name_of_folder(input.checkpoint->path);
  return input;
}

Result<ModelInput> open_synthetic(const std::string& config_path,
                                  const std::vector<std::string>& arch_from,
                                  const MtpOptions& mtp) {
  ModelInput input;
  std::vector<std::string> notes;
  runtime::SourceFiles sources;
  const auto config = frontends::read_json_object(config_path, &notes, &sources);
  if (!config.ok()) return to_error(config.status());
  const auto own = own_families(arch_from);
  if (!own.ok()) return own.error();
  auto model = models::import_synthetic(*config, *own, {.mtp = mtp.wanted});
  if (!model.ok()) return to_error(model.status());
  input.model = *std::move(model);
  input.model.sources.insert(input.model.sources.end(), sources.begin(), sources.end());
  show_notes(notes);
  show_notes(input.model.notes);
  input.name = "synthetic " + fs::path(config_path).filename().string();
  return input;
}

codegen::Activations activations_of(const std::string& name) {
  return name == "a16" ? codegen::Activations::a16 : codegen::Activations::a8;
}

ir::DType kv_format_of(const std::string& name) {
  const ir::StateFormat* format = ir::find_state_format(name);
  return format == nullptr ? ir::DType::f16 : format->dtype;
}

Result<codegen::Target> best_host_target() {
  const runtime::HostCpu cpu = runtime::detect_host_cpu();
  const codegen::Target* best = nullptr;
  std::string wanted;
  for (const codegen::Target& target : codegen::targets()) {
    if (target.family != cpu.family) continue;
    std::string missing;
    for (const std::string_view feature : target.features)
      if (std::find(cpu.features.begin(), cpu.features.end(), feature) == cpu.features.end())
        missing += fmt::format(" {}", feature);
    if (missing.empty()) best = &target;
    wanted += fmt::format("; {} needs{}", target.name, missing);
  }
  if (best != nullptr) return *best;
  return Error{fmt::format("this CPU ({}) can run none of the targets{}",
                           cpu.family.empty() ? "unknown" : cpu.family, wanted)};
}

}  // namespace sinter::tools
