#include "tools/model_options.h"

#include <fmt/format.h>

#include "runtime/gpu/device.h"
#include "runtime/host/memory.h"
#include "runtime/session/sampler.h"
#include "tools/files.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;

void add_model_argument(CLI::App& app, const Program& program, ModelOptions& options) {
  if (program.compile_model) {
    app.add_option("MODEL|PLAN", options.path,
                   "A plan, or a model folder, which is compiled for this CPU first")
        ->required();
    app.add_option("--activations", options.activations,
                   "How activations are kept between kernels: a8 (int8 per group, fast; the "
                   "default for a model) or a16 (16 bits, the accuracy reference)")
        ->check(CLI::IsMember({"a8", "a16"}));
    add_kv_format_option(app, program, options.kv_format);
    add_quantize_option(app, options.quantize);
    add_arch_option(app, options.arch_from);
  } else {
    app.add_option("PLAN", options.path, "A plan that `sinter compile` wrote")->required();
  }
}

CLI::Option* add_kv_format_option(CLI::App& app, const Program& program, std::string& format) {
  return app
      .add_option("--kv,--kv-format", format,
                  "How a model's keys and values are cached: f16 (the default), f32, or codes of 8 "
                  "or 4 bits with a scale for 32 of them (q8, q4), which take about half and a "
                  "quarter of the memory")
      ->check(CLI::IsMember(program.kv_formats));
}

void add_quantize_option(CLI::App& app, std::vector<std::string>& rules) {
  app.add_option(
         "--quantize", rules,
         "Make a model's dense matrices low-bit on the way; may be given more than once. FORMAT is "
         "affine:BITS:GROUP (MLX's rounding; BITS 1, 2, 3, 4, 5, 6 or 8, GROUP 32, 64 or 128), "
         "ternary (BitNet's rule: -s, 0 or s, where s is the mean magnitude of the whole matrix) "
         "or "
         "mxfp4 (4-bit floats, a power of two per 32 columns). Alone it is for every dense matrix "
         "whose columns are a multiple of the group. PATTERN=FORMAT, such as "
         "'*.down_proj=affine:8:64', is for the modules whose names match (* and ? as in a shell), "
         "also those that are quantized already; of several that match, the last counts. "
         "PATTERN=keep leaves them as they are")
      ->allow_extra_args(false)
      ->type_name("[PATTERN=]FORMAT");
}

void add_without_option(CLI::App& app, std::vector<std::string>& passes) {
  app.add_option("--without", passes,
                 "Leaves passes out, to measure what they do; an unknown name is told which can be")
      ->delimiter(',')
      ->type_name("PASS,PASS,..");
}

void add_arch_option(CLI::App& app, std::vector<std::string>& files) {
  app.add_option("--arch-from", files,
                 "Entries that describe architectures beside those that are built in (`sinter arch "
                 "MODEL` prints one to start from); may be given more than once, and comes before "
                 "the files of $XDG_CONFIG_HOME/sinter/architectures (~/.config without it)")
      ->allow_extra_args(false)
      ->type_name("FILE");
}

void add_mtp_options(CLI::App& app, MtpOptions& mtp, const std::string& text) {
  app.add_flag("--mtp", mtp.wanted, text);
  app.add_option("--mtp-from", mtp.from,
                 "The head is in a .safetensors file of its own, beside the model's; implies --mtp")
      ->type_name("FILE")
      ->each([&mtp](const std::string&) { mtp.wanted = true; });
}

void add_execution_options(CLI::App& app, ModelOptions& options, bool has_reference) {
  app.add_option("--threads", options.threads, "Threads to compute with; 0 takes all there are")
      ->check(CLI::Range(0, 1024));
  const auto is_device = [has_reference](const std::string& text) -> std::string {
    if (text == "host" || (has_reference && text == "reference")) return "";
    const auto gpu = runtime::parse_gpu_name(text);
    return gpu.ok() ? "" : gpu.error().message;
  };
  app.add_option("--device", options.device,
                 std::string("Where to run: host, hip:N (AMD) or cuda:N (NVIDIA); `doctor` lists "
                             "the GPUs") +
                     (has_reference ? "; reference is the float32 interpreter on the imported "
                                      "graph (slow)"
                                    : ""))
      ->check(is_device)
      ->type_name("DEVICE")
      ->capture_default_str();
}

void add_executor_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--executor", options.executor,
                 "How a step's phases are started: persistent (the host's default: one dispatch "
                 "per step), graph (a GPU's default: one replay per decode step) or eager (one "
                 "after another)")
      ->check(CLI::IsMember({"eager", "graph", "persistent"}));
}

runtime::Executor executor_of(const ModelOptions& options) {
  using runtime::Executor;
  for (const Executor executor : {Executor::eager, Executor::graph, Executor::persistent})
    if (options.executor == name(executor)) return executor;
  return Executor::automatic;
}

namespace {

// What a model must be compiled for to run on the device; empty for this CPU.
Result<std::string> target_of(const std::string& device) {
  if (device == "host") return std::string();
  const auto wanted = runtime::parse_gpu_name(device);
  if (!wanted.ok()) return wanted.error();
  const auto driver = runtime::open_gpu_driver(wanted->vendor);
  if (!driver.ok()) return Error{fmt::format("{}: {}", device, driver.error().message)};
  const auto gpu = runtime::GpuDevice::open(*driver, wanted->index);
  if (!gpu.ok()) return gpu.error();
  return (*gpu)->info().architecture;
}

}  // namespace

Result<OpenedPlan> open_plan(const Program& program, const ModelOptions& options) {
  const Result<InputKind> kind = kind_of_input(options.path);
  if (!kind.ok()) return kind.error();
  if (*kind == InputKind::model) {
    if (!program.compile_model)
      return Error{fmt::format(
          "{0}: is a model, and {1} runs plans only; `sinter compile {0} -o model.plan` makes one",
          options.path, program.name)};
    const auto target = target_of(options.device);
    if (!target.ok()) return target.error();
    return program.compile_model({.model = options.path,
                                  .targets = *target,
                                  .activations = options.activations,
                                  .kv_format = options.kv_format,
                                  .quantize = options.quantize,
                                  .arch_from = options.arch_from,
                                  .mtp = options.mtp,
                                  .max_context = options.max_context,
                                  .cached = options.cached});
  }
  if (!options.quantize.empty())
    return Error{fmt::format(
        "{}: --quantize is for models; the weights of a plan are packed already", options.path)};
  if (!options.arch_from.empty())
    return Error{fmt::format("{}: --arch-from is for models; a plan needs no description of one",
                             options.path)};
  auto file = runtime::PlanFile::open(options.path, false);
  if (!file.ok()) return file.error();
  const std::string& compiled_with = (*file)->plan().activations;
  if (!options.activations.empty() && options.activations != compiled_with)
    return Error{fmt::format(
        "{}: was compiled with --activations {}; compile the model again to run it with {}",
        options.path, compiled_with, options.activations)};
  for (const runtime::DevicePlan& device : (*file)->plan().device_plans)
    if (const std::string& format = state_formats(device);
        !options.kv_format.empty() && !format.empty() && options.kv_format != format)
      return Error{
          fmt::format("{}: was compiled with --kv-format {}; compile the model again to run it "
                      "with {}",
                      options.path, format, options.kv_format)};
  if (!options.mtp.from.empty())
    return Error{fmt::format("{}: --mtp-from is for models", options.path)};
  if (options.mtp.wanted && (*file)->plan().hidden_size == 0)
    return Error{
        fmt::format("{}: has no multi-token-prediction head; compile the model again with --mtp",
                    options.path)};
  return OpenedPlan{*file, false};
}

Result<std::shared_ptr<runtime::Model>> load_model(const Program& program,
                                                   const ModelOptions& options) {
  Result<OpenedPlan> opened = open_plan(program, options);
  if (!opened.ok()) return opened.error();
  Progress progress;
  runtime::LoadOptions load;
  load.threads = options.threads;
  load.device = options.device;
  load.context = options.context;
  load.verify_weights = !opened->weights_verified;
  load.progress = [&](double fraction) { progress.update("loading weights", fraction); };
  auto model = runtime::Model::load(opened->file, load);
  progress.clear();
  return model;
}

void announce(const runtime::Model& model) { note(device_text(model.device())); }

std::string device_text(const runtime::DeviceInfo& device) {
  return fmt::format("{}: {}, {}, {} of {} free", device.id, device.name, device.architecture,
                     size_text(device.free_memory), size_text(device.total_memory));
}

std::string workers_text(const runtime::Model& model) {
  return fmt::format("{} {}", model.workers(),
                     model.device().id == "host" ? "threads" : "multiprocessors");
}

uint64_t memory_in_use(const runtime::Model& model, const runtime::Session& session) {
  if (model.device().id == "host") return runtime::peak_resident_bytes();
  return model.device_plan().weight_bytes + session.device_bytes();
}

Result<runtime::TokenizerFiles> read_model_text(
    const Program& program, const std::string& path,
    Result<runtime::TokenizerFiles> (*read)(const std::string& folder,
                                            runtime::SourceFiles* sources)) {
  const std::string folder = folder_of(path);
  const bool in_gguf = is_gguf(path);
  if (in_gguf && !program.gguf_tokenizer)
    return Error{
        fmt::format("{}: {} reads no .gguf files; use sinter, or give a plan", path, program.name)};
  auto files = in_gguf ? runtime::TokenizerFiles() : read(folder, nullptr);
  if (!files.ok()) return Error{fmt::format("{}: {}", folder, files.error().message)};
  if (!files->tokenizer_json.empty() || !files->chat_template.empty() || !program.gguf_tokenizer)
    return files;
  return program.gguf_tokenizer(path);
}

Result<runtime::Tokenizer> tokenizer_of(const runtime::PlanFile& file) {
  const runtime::Plan& plan = file.plan();
  if (plan.tokenizer.bytes == 0)
    return Error{fmt::format(
        "{}: has no tokenizer: the model was compiled without one; --ids takes token ids",
        plan.model)};
  return runtime::Tokenizer::from_json(file.text(plan.tokenizer), file.text(plan.tokenizer_config));
}

Result<runtime::Tokenizer> tokenizer_of(const Program& program, const std::string& path,
                                        const runtime::PlanFile& file) {
  auto tokenizer = tokenizer_of(file);
  const auto kind = kind_of_input(path);
  if (tokenizer.ok() || !kind.ok() || *kind == InputKind::plan) return tokenizer;
  const auto files = read_model_text(program, path, runtime::read_tokenizer);
  if (!files.ok()) return files.error();
  if (files->notes.empty()) return tokenizer;
  return Error{fmt::format("{}: {}", path, files->notes.back())};
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, uint64_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(runtime::sampling_bits(seed, static_cast<uint64_t>(i)) %
                                          static_cast<uint64_t>(vocab_size)));
  return tokens;
}

}  // namespace sinter::tools
