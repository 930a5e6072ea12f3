// logits: what the model computes for given token ids, as a NumPy file.
#include <fmt/format.h>

#include <memory>

#include "runtime/session/sampler.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/input_files.h"
#include "tools/model_options.h"
#include "tools/npy.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;
using runtime::Session;
using runtime::Status;

struct LogitsOptions {
  ModelOptions model;
  std::string ids;
  std::string out;
  std::string mode = "prefill";
  std::string after_pass;
};

Result<int> reference(const Program& program, const LogitsOptions& options,
                      const std::vector<int32_t>& ids) {
  const auto kind = kind_of_input(options.model.path);
  if (!kind.ok()) return kind.error();
  if (!program.reference_logits)
    return Error{
        fmt::format("--device reference needs the compiler; use sinter, not {}", program.name)};
  if (*kind == InputKind::plan)
    return Error{fmt::format(
        "{}: --device reference interprets the imported graph, which a plan does not hold; give "
        "the model folder",
        options.model.path)};
  auto logits = program.reference_logits({.model = options.model.path,
                                          .kv_format = options.model.kv_format,
                                          .quantize = options.model.quantize,
                                          .arch_from = options.model.arch_from,
                                          .tokens = ids,
                                          .tokens_name = options.ids,
                                          .token_by_token = options.mode == "decode",
                                          .after_pass = options.after_pass});
  if (!logits.ok()) return logits.error();
  if (Status status = runtime::check_logits(logits->rows, logits->vocab_size, 0); !status.ok())
    return status.error();
  auto writer =
      NpyWriter::create(options.out, static_cast<int64_t>(ids.size()), logits->vocab_size);
  if (!writer.ok()) return writer.error();
  if (Status status = writer->append(logits->rows); !status.ok()) return status.error();
  if (Status status = writer->finish(); !status.ok()) return status.error();
  return 0;
}

Status write_rows(Session& session, std::span<const int32_t> ids, bool token_by_token,
                  NpyWriter& writer) {
  Progress progress;
  size_t done = 0;
  Status written = runtime::Done{};
  const auto take = [&](std::span<const float> rows, int64_t count) {
    throw_if_interrupted();
    if (written.ok()) written = writer.append(rows);
    done += static_cast<size_t>(count);
    progress.update("computing logits",
                    static_cast<double>(done) / static_cast<double>(ids.size()));
  };
  if (!token_by_token) {
    if (Status status = session.prefill(ids, static_cast<int64_t>(ids.size()), take); !status.ok())
      return status;
    return written;
  }
  for (const int32_t id : ids) {
    if (Status status = session.decode(id); !status.ok()) return status;
    const auto row = session.read_logits();
    if (!row.ok()) return row.error();
    take(*row, 1);
    if (!written.ok()) break;
  }
  return written;
}

Result<int> on_device(const Program& program, const LogitsOptions& options,
                      const std::vector<int32_t>& ids) {
  auto model = load_model(program, options.model);
  if (!model.ok()) return model.error();
  const runtime::Plan& plan = (*model)->plan();
  if (Status status = check_token_ids(ids, plan.vocab_size, options.ids); !status.ok())
    return status.error();
  const auto count = static_cast<int64_t>(ids.size());
  if (count > plan.max_context)
    return Error{fmt::format(
        "{}: holds {} token ids, but the context holds {}; shorten it or compile with a larger "
        "--max-context",
        options.ids, count, plan.max_context)};
  auto session = Session::create(*model, count, executor_of(options.model));
  if (!session.ok()) return session.error();
  auto writer = NpyWriter::create(options.out, count, plan.vocab_size);
  if (!writer.ok()) return writer.error();
  announce(**model);
  if (Status status = write_rows(**session, ids, options.mode == "decode", *writer); !status.ok())
    return status.error();
  if (Status status = writer->finish(); !status.ok()) return status.error();
  return 0;
}

Result<int> logits(const Program& program, const LogitsOptions& options) {
  if (!options.after_pass.empty() && options.model.device != "reference")
    return Error{"--after-pass says which graph is interpreted; it needs --device reference"};
  const auto written = InputFiles()
                           .add_model(options.model.path)
                           .add_file(options.ids)
                           .add_files(options.model.arch_from)
                           .check_output_file(options.out);
  if (!written.ok()) return written.error();
  const auto ids = read_token_ids(options.ids);
  if (!ids.ok()) return ids.error();
  return options.model.device == "reference" ? reference(program, options, *ids)
                                             : on_device(program, options, *ids);
}

}  // namespace

void add_logits(CommandLine& line) {
  auto options = std::make_shared<LogitsOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "logits",
      "Compute the logits of every position of a sequence of token ids and write them as a NumPy "
      "file: float32, [tokens, vocabulary].",
      program.name + " logits model.plan --ids ids.txt --out logits.npy --mode decode",
      [&program, options] { return logits(program, *options); });
  add_model_argument(app, program, options->model);
  app.add_option("--ids", options->ids, "File of token ids, separated by white space; - is stdin")
      ->required()
      ->type_name("FILE");
  app.add_option("--out", options->out, "The .npy file to write")->required()->type_name("FILE");
  app.add_option("--mode", options->mode, "prefill: all tokens at once; decode: one after another")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
  add_execution_options(app, options->model, true);
  add_executor_option(app, options->model);
  if (program.reference_logits)
    app.add_option("--after-pass", options->after_pass,
                   "With --device reference: interpret the graph as this pass leaves it");
}

}  // namespace sinter::tools
