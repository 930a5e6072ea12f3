// opt: IR text in, passes, IR text out.
#include <fmt/format.h>

#include <memory>

#include "frontends/open/open_checkpoint.h"
#include "ir/text.h"
#include "ir/verifier.h"
#include "passes/pipeline.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/input_files.h"
#include "tools/model_input.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;

struct OptOptions {
  std::string file;
  std::vector<std::string> passes;
  std::string checkpoint;
  std::string out;
  bool remarks = false;
};

std::string known_passes() {
  std::string known;
  for (const passes::Pass& pass : passes::pipeline())
    known += fmt::format("{}{}", known.empty() ? "" : ", ", pass.name);
  return known;
}

Result<int> opt(const OptOptions& options) {
  std::vector<const passes::Pass*> chosen;
  for (const std::string& name : options.passes) {
    chosen.push_back(passes::find_pass(name));
    if (chosen.back() == nullptr)
      return Error{
          fmt::format("--pass: \"{}\" is not a pass; the passes are {}", name, known_passes())};
  }
  const auto written = InputFiles().add_model(options.checkpoint).check_output_file(options.out);
  if (!written.ok()) return written.error();
  std::unique_ptr<frontends::Checkpoint> checkpoint;
  if (!options.checkpoint.empty()) {
    auto opened = frontends::open_checkpoint(options.checkpoint);
    if (!opened.ok()) return to_error(opened.status());
    checkpoint = *std::move(opened);
  }
  const auto text = read_file(options.file);
  if (!text.ok()) return text.error();
  auto module = ir::parse(*text, options.file == "-" ? "stdin" : options.file);
  if (!module.ok()) return to_error(module.status());

  passes::PassContext context;
  context.source = checkpoint.get();
  for (const passes::Pass* pass : chosen) {
    module = pass->run(*std::move(module), context);
    if (!module.ok())
      return Error{fmt::format("{}: {}", pass->name, std::string(module.status().message()))};
    if (const absl::Status status = ir::verify(*module); !status.ok())
      return Error{fmt::format("after {}: {}; this is a bug in sinter, please report it",
                               pass->name, std::string(status.message()))};
  }
  if (options.remarks)
    for (const passes::Remark& r : context.remarks)
      note(printable(fmt::format("remark: {}: {}: {}: {}", r.pass,
                                 r.accepted ? "accepted" : "refused", r.subject, r.reason)));
  const std::string printed = ir::print(*module);
  if (options.out.empty()) {
    write_output(printed);
  } else if (auto status = write_file(options.out, printed); !status.ok()) {
    return status.error();
  }
  return 0;
}

}  // namespace

void add_opt(CommandLine& line) {
  auto options = std::make_shared<OptOptions>();
  CLI::App& app = line.add(
      "opt",
      "Run passes on a graph in text form, in the order given, and print what they leave. The "
      "passes are " +
          known_passes() + ".",
      "sinter opt graph.sir --pass fold_dequantize --pass fuse_prologues --remarks",
      [options] { return opt(*options); });
  app.add_option("FILE", options->file, "A graph as `sinter dump` prints it; - is stdin")
      ->required();
  app.add_option("--pass", options->passes, "A pass to run; give it again, or separate by commas")
      ->delimiter(',')
      ->expected(1)
      ->take_all();
  app.add_option(
      "--checkpoint", options->checkpoint,
      "The model folder that the weights' sources are in, for passes that look at bytes");
  app.add_option("-o,--output", options->out, "Write here instead of to stdout")->type_name("FILE");
  app.add_flag("--remarks", options->remarks, "Print the passes' remarks to stderr");
}

}  // namespace sinter::tools
