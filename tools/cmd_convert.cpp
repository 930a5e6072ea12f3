// convert: a checkpoint into one of MLX's format, quantized on the way.
#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "runtime/host/memory.h"
#include "tools/command.h"
#include "tools/input_files.h"
#include "tools/mlx_folder.h"
#include "tools/model_input.h"
#include "tools/model_options.h"
#include "tools/quantize_report.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Result;

struct ConvertCommand {
  std::string model;
  std::string out;
  std::vector<std::string> quantize;
  std::vector<std::string> arch_from;
  uint64_t max_file_bytes = 5'000'000'000;
};

Result<int> convert(const ConvertCommand& command) {
  const auto start = std::chrono::steady_clock::now();
  if (command.max_file_bytes == 0) return runtime::Error{"--max-file-size is 0; give at least 1"};
  const auto written = InputFiles().add_model(command.model).check_output_folder(command.out);
  if (!written.ok()) return written.error();
  const auto rules = parse_quantize_rules(command.quantize);
  if (!rules.ok()) return rules.error();
  const auto input = open_model(command.model, {}, command.arch_from);
  if (!input.ok()) return input.error();
  const auto choice = frontends::choose_quantization(*input->checkpoint, *rules);
  if (!choice.ok()) return to_error(choice.status());

  Progress progress;
  MlxFolderRequest request;
  request.checkpoint = input->checkpoint.get();
  request.choice = &*choice;
  request.out = command.out;
  request.max_file_bytes = command.max_file_bytes;
  request.progress = [&](double fraction) {
    throw_if_interrupted();
    progress.update("converting", fraction);
  };
  const auto result = write_mlx_folder(request);
  progress.clear();
  if (!result.ok()) return result.error();

  std::vector<std::string> notes = choice->notes;
  notes.insert(notes.end(), result->notes.begin(), result->notes.end());
  write_output(quantization_report(result->errors, notes));
  note(fmt::format(
      "wrote {}: {} in {} file{}, {:.3f} bits per weight, in {:.1f} s; {} of memory at "
      "the peak",
      command.out, size_text(result->weight_bytes), result->weight_files,
      result->weight_files == 1 ? "" : "s",
      8.0 * static_cast<double>(result->weight_bytes) / static_cast<double>(result->parameters),
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
      size_text(runtime::peak_resident_bytes())));
  return 0;
}

}  // namespace

void add_convert(CommandLine& line) {
  auto command = std::make_shared<ConvertCommand>();
  CLI::App& app = line.add(
      "convert",
      "Write a model as a new folder in MLX's format, which sinter, mlx-lm and others load: "
      "safetensors, config.json with the quantization, the tokenizer's files. Every dense matrix "
      "that a rule of --quantize is for becomes low-bit, embeddings and output head included, when "
      "its columns are a multiple of the group; norms and biases stay, and what else stays is "
      "noted. Prints for each kind of layer the relative error ||w - q|| / ||w||. Matrices that "
      "are quantized already keep their codes and scales; when MLX has no form for them, the "
      "command ends with an error that says which pattern quantizes them again. DIR must not "
      "exist or be empty; it appears when all of it is written. Compiling the new folder gives "
      "the weights that `compile --quantize` gives with the same rules.",
      "sinter convert models/Qwen3-0.6B --quantize affine:4:64 --quantize 'model.embed_tokens="
      "affine:8:64' -o Qwen3-0.6B-4bit",
      [command] { return convert(*command); });
  app.add_option("MODEL", command->model, "The model folder, or a .gguf file")->required();
  app.add_option("-o,--output", command->out, "The folder to write")->required()->type_name("DIR");
  add_quantize_option(app, command->quantize);
  add_arch_option(app, command->arch_from);
  app.add_option("--max-file-size", command->max_file_bytes,
                 "Bytes of weights per file, with k, M or G; more are split, with an index")
      ->transform(CLI::AsSizeValue(true))
      ->type_name("SIZE")
      ->default_str("5G");
}

}  // namespace sinter::tools
