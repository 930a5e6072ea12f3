#include "tools/plan_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "codegen/compile/clang_compile.h"
#include "codegen/plan_builder.h"
#include "codegen/targets/target.h"
#include "frontends/mapped_file.h"
#include "runtime/plan/checksum.h"
#include "runtime/support/temporary_file.h"
#include "tools/files.h"
#include "tools/quantize_report.h"
#include "tools/terminal.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;
namespace fs = std::filesystem;

namespace {

void add_field(runtime::Checksum& checksum, std::string_view text) {
  checksum.update(fmt::format("{}:", text.size()));
  checksum.update(text);
}

// A hash of all that a plan depends on: the options, the compiler, and every file that the model
// was read from.
Result<std::string> cache_key(const ModelInput& input, const codegen::CompileOptions& options,
                              const std::vector<std::string>& quantize) {
  Progress progress;
  runtime::Checksum checksum;
  add_field(checksum, input.name);
  add_field(checksum, fmt::format("{} {} {} {} {} {} {} {}", static_cast<int>(options.activations),
                                  input.model.module.further.size(), ir::name(options.kv_format),
                                  options.max_context, options.chunk, fmt::join(options.rows, ","),
                                  SINTER_VERSION, codegen::clang_version()));
  add_field(checksum, fmt::format("{}", quantize.size()));
  for (const std::string& rule : quantize) add_field(checksum, rule);
  for (const codegen::Target& target : options.targets) add_field(checksum, target.name);
  const auto add_file = [&](const fs::path& path) -> absl::Status {
    const auto file = frontends::MappedFile::open(path);
    if (!file.ok()) return file.status();
    constexpr size_t kPiece = size_t{64} << 20;
    add_field(checksum, fmt::format("{}", file->size()));
    for (size_t at = 0; at < file->size(); at += kPiece) {
      throw_if_interrupted();
      progress.update("looking for the compiled plan", -1);
      checksum.update(file->text().substr(at, kPiece));
      file->release(file->bytes().subspan(at, kPiece));
    }
    return absl::OkStatus();
  };
  for (const runtime::SourceFile& source : input.model.sources) {
    add_field(checksum, fs::path(source.path).lexically_relative(input.checkpoint->path).string());
    if (source.size == 0) continue;  // which no map is made of
    if (auto status = add_file(source.path); !status.ok()) return to_error(status);
  }
  // A compiler that was built anew makes new plans.
  if (auto status = add_file("/proc/self/exe"); !status.ok()) return to_error(status);
  return checksum.key();
}

Result<std::vector<codegen::Target>> targets_of(const PlanRequest& request) {
  if (request.targets.empty()) {
    auto target = best_host_target();
    if (!target.ok()) return target.error();
    return std::vector<codegen::Target>{*target};
  }
  auto targets = codegen::parse_targets(request.targets);
  if (!targets.ok()) return to_error(targets.status());
  return *std::move(targets);
}

// Compiles to `path`, with progress; Ctrl-C ends it between two pieces of work.
absl::StatusOr<runtime::Plan> compile_to(const ModelInput& input, codegen::CompileOptions options,
                                         const std::string& path) {
  Progress progress;
  options.progress = [&](std::string_view what, double fraction) {
    throw_if_interrupted();
    progress.update(what, fraction);
  };
  auto plan = codegen::compile_plan(input.model, input.checkpoint.get(), input.name, options, path);
  progress.clear();
  if (!plan.ok()) return plan.status();
  if (std::string report = quantization_report(input); !report.empty()) {
    report.pop_back();  // the end of the last line, which `note` writes
    note(report);
  }
  return plan;
}

}  // namespace

std::optional<std::string> cache_folder() {
  if (const auto cache = absolute_variable("XDG_CACHE_HOME")) return *cache + "/sinter";
  if (const auto home = absolute_variable("HOME")) return *home + "/.cache/sinter";
  return std::nullopt;
}

bool make_writable_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return ::access(path.c_str(), W_OK | X_OK) == 0;
}

Result<OpenedPlan> compile_temporary(const ModelInput& input, codegen::CompileOptions options) {
  runtime::TemporaryFolder folder;
  const std::string root = runtime::temporary_root();
  if (const int error = folder.create(root + "/sinter", 0700); error != 0)
    return Error{
        fmt::format("{}: no temporary plan can be made there ({}); set TMPDIR to another folder",
                    root, std::strerror(error))};
  const std::string path = folder.name() + "/model.plan";
  const auto plan = compile_to(input, std::move(options), path);
  if (!plan.ok()) return to_error(plan.status());
  auto file = runtime::PlanFile::open(path, false);
  if (!file.ok()) return file.error();
  return OpenedPlan{*file, false};
}

Result<OpenedPlan> compile_for_device(const PlanRequest& request) {
  auto input = open_model(request.model, request.quantize, request.arch_from, request.mtp);
  if (!input.ok()) return input.error();
  auto targets = targets_of(request);
  if (!targets.ok()) return targets.error();
  codegen::CompileOptions options;
  options.targets = *std::move(targets);
  options.activations = activations_of(request.activations);
  options.kv_format = kv_format_of(request.kv_format);
  options.max_context = request.max_context;
  if (!request.cached) return compile_temporary(*input, std::move(options));

  const auto without_cache = [&](std::string_view why) {
    note(fmt::format("no cache: {}; the plan is compiled for this run alone", why));
    return compile_temporary(*input, options);
  };
  const auto folder = cache_folder();
  if (!folder || !make_writable_folder(*folder))
    return without_cache(
        fmt::format("{} is not writable", folder.value_or("the folder of XDG_CACHE_HOME")));
  const auto key = cache_key(*input, options, request.quantize);
  if (!key.ok()) return without_cache(key.error().message);
  const std::string path = fmt::format("{}/{}.plan", *folder, *key);
  std::error_code error;
  if (fs::exists(path, error)) {
    auto file = runtime::PlanFile::open(path, true);
    if (file.ok()) return OpenedPlan{*file, true};  // else it is damaged, and made again
  }
  const auto plan = compile_to(*input, options, path);
  // A full disk and the like.
  if (absl::IsUnavailable(plan.status())) return without_cache(to_error(plan.status()).message);
  if (!plan.ok()) return to_error(plan.status());
  auto file = runtime::PlanFile::open(path, false);
  if (!file.ok()) return without_cache(file.error().message);
  return OpenedPlan{*file, false};
}

}  // namespace sinter::tools
