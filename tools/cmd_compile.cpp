// compile: a model into a plan.
#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "runtime/host/memory.h"
#include "tools/command.h"
#include "tools/input_files.h"
#include "tools/model_input.h"
#include "tools/model_options.h"
#include "tools/quantize_report.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;

struct CompileCommand {
  std::string model;
  std::string synthetic;
  std::string out;
  std::string targets = "host";
  std::string activations = "a8";
  std::string kv_format = "f16";
  std::vector<std::string> quantize;
  std::vector<std::string> arch_from;
  int64_t max_context = 0;
  int64_t chunk = 0;
  std::vector<int64_t> rows;
  std::vector<std::string> without;
  uint64_t seed = 1;
  bool seed_given = false;
  bool persistent = false;
  MtpOptions mtp;
};

Result<int> compile(const Program& program, const CompileCommand& command) {
  if (command.model.empty() == command.synthetic.empty())
    return Error{"give either a MODEL or --synthetic CONFIG.json"};
  if (!command.quantize.empty() && !command.synthetic.empty())
    return Error{
        "--quantize is for a MODEL; the \"quantization\" of a synthetic model's "
        "config.json says how its weights are stored"};
  if (command.seed_given && command.synthetic.empty())
    return Error{"--seed makes synthetic weights; it needs --synthetic"};
  const auto written = InputFiles()
                           .add_model(command.model)
                           .add_file(command.synthetic)
                           .add_files(command.arch_from)
                           .add_file(command.mtp.from)
                           .check_output_file(command.out);
  if (!written.ok()) return written.error();
  const auto start = std::chrono::steady_clock::now();
  const auto targets = codegen::parse_targets(command.targets);
  if (!targets.ok()) return to_error(targets.status());
  const auto input =
      command.synthetic.empty()
          ? open_model(command.model, command.quantize, command.arch_from, command.mtp)
          : open_synthetic(command.synthetic, command.arch_from, command.mtp);
  if (!input.ok()) return input.error();

  Progress progress;
  codegen::CompileOptions options;
  options.targets = *targets;
  options.activations = activations_of(command.activations);
  options.kv_format = kv_format_of(command.kv_format);
  options.max_context = command.max_context;
  options.chunk = command.chunk;
  options.rows = command.rows;
  options.without = command.without;
  options.seed = command.seed;
  options.persistent = command.persistent;
  options.progress = [&](std::string_view what, double fraction) {
    throw_if_interrupted();
    progress.update(what, fraction);
  };
  const auto plan = codegen::compile_plan(input->model, input->checkpoint.get(), input->name,
                                          options, command.out);
  progress.clear();
  if (!plan.ok()) return to_error(plan.status());

  if (const std::string report = quantization_report(*input); !report.empty())
    write_output(report + "\n");
  write_output(summary(*plan, program.target_rates));
  note(fmt::format("wrote {} in {:.1f} s; {} of memory at the peak", command.out,
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
                   size_text(runtime::peak_resident_bytes())));
  return 0;
}

}  // namespace

void add_compile(CommandLine& line) {
  auto command = std::make_shared<CompileCommand>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "compile",
      "Compile a model into one plan file that the runtime executes: fused kernels as machine code "
      "for every target, packed weights, the tokenizer. Prints the plan's summary. MODEL is a "
      "folder with config.json, model.safetensors (or shards with their index) and tokenizer.json.",
      "sinter compile models/tiny-bonsai-1bit -o tiny.plan --target host,aarch64",
      [&program, command] { return compile(program, *command); });
  app.add_option("MODEL", command->model, "The model folder");
  app.add_option("--synthetic", command->synthetic,
                 "Instead of a MODEL: a config.json whose weights are made from a seed at load, "
                 "to measure speed and memory of a size without its weights")
      ->type_name("FILE");
  app.add_option("-o,--output", command->out, "The plan to write")->required()->type_name("FILE");
  app.add_option("--target", command->targets,
                 "Targets separated by commas; host stands for every CPU target of this machine's "
                 "family; `sinter targets` lists them")
      ->capture_default_str();
  app.add_option("--activations", command->activations,
                 "a8: int8 per group, fast; a16: 16 bits, the accuracy reference")
      ->check(CLI::IsMember({"a8", "a16"}))
      ->capture_default_str();
  add_kv_format_option(app, program, command->kv_format)->capture_default_str();
  add_quantize_option(app, command->quantize);
  add_arch_option(app, command->arch_from);
  add_mtp_options(
      app, command->mtp,
      "With the model's multi-token-prediction head (tensors mtp.*, in GGUF nextn.*) as "
      "an entry of its own, which drafts tokens; without it such tensors are left out");
  add_without_option(app, command->without);
  app.add_option("--max-context", command->max_context,
                 "Positions that a session can hold at most; by default what the model says, up to "
                 "32768")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  app.add_option(
         "--rows", command->rows,
         "Steps of a few rows, such as those of several sequences, get kernels of their own "
         "for at most so many; by default 8,16,32 on GPUs and 32 on CPUs, whose kernels are "
         "for any number")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{2}, codegen::kFewRows))
      ->type_name("N,N,..");
  app.add_option("--chunk", command->chunk, "Tokens that a prefill step takes at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  app.add_flag(
      "--persistent", command->persistent,
      "GPUs get one more kernel, which runs a whole decode step, for `sinter capture "
      "--schedule persistent`. It takes as long to compile as all others of a decode step");
  CLI::Option* seed = app.add_option("--seed", command->seed, "With --synthetic: of the weights");
  seed->each([command](const std::string&) { command->seed_given = true; });
}

}  // namespace sinter::tools
