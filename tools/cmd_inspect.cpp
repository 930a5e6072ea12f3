// inspect: a plan on one page.
#include <memory>

#include "runtime/plan/file.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {

void add_inspect(CommandLine& line) {
  struct Options {
    std::string path;
    bool json = false;
    bool instructions = false;
  };
  auto options = std::make_shared<Options>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "inspect",
      "Show what is in a plan: the model, targets, memory, weights by format, phases and barriers "
      "per token, the predicted speed and what bounds it.",
      program.name + " inspect model.plan", [&program, options]() -> runtime::Result<int> {
        auto file = runtime::PlanFile::open(options->path, false);
        if (!file.ok()) return file.error();
        const runtime::Plan& plan = (*file)->plan();
        if (options->json) {
          write_output(runtime::plan_to_json(plan, 2) + "\n");
          return 0;
        }
        write_output(summary(plan, program.target_rates));
        if (options->instructions) {
          auto table = program.count_instructions(**file);
          if (!table.ok()) return table.error();
          write_output(*table);
        }
        return 0;
      });
  app.add_option("PLAN", options->path, "A plan that `sinter compile` wrote")->required();
  app.add_flag("--json", options->json, "Print the plan's whole header as JSON");
  if (program.count_instructions)
    app.add_flag("--instructions", options->instructions,
                 "Count the instructions that GPU kernels spend on a byte of weights (compiles the "
                 "plan's kernels again)");
}

}  // namespace sinter::tools
