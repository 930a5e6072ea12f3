// inspect: a plan on one page.
#include <memory>

#include "runtime/plan_file.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {

void add_inspect(CommandLine& line) {
  struct Options {
    std::string path;
    bool json = false;
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
        return 0;
      });
  app.add_option("PLAN", options->path, "A plan that `sinter compile` wrote")->required();
  app.add_flag("--json", options->json, "Print the plan's whole header as JSON");
}

}  // namespace sinter::tools
