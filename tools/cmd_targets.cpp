// targets: what can be compiled for.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/targets/target.h"
#include "runtime/host/device.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

bool runs_here(const codegen::Target& target, const runtime::HostCpu& cpu) {
  return target.family == cpu.family &&
         std::all_of(target.features.begin(), target.features.end(), [&](std::string_view feature) {
           return std::find(cpu.features.begin(), cpu.features.end(), feature) !=
                  cpu.features.end();
         });
}

void print_targets(bool json) {
  const runtime::HostCpu cpu = runtime::detect_host_cpu();
  auto list = nlohmann::ordered_json::array();
  if (!json)
    output("{:<16} {:<14} {:<6} {:>8} {:>8}  {}\n", "target", "family", "here", "GB/s", "Gmac/s",
           "features that the machine must have, or the machines that a generic target stands for");
  for (const codegen::Target& target : codegen::targets()) {
    const bool here = runs_here(target, cpu);
    if (json)
      list.push_back({{"name", target.name},
                      {"family", target.family},
                      {"triple", family_of(target).triple},
                      {"features", target.features},
                      {"machines", target.machines},
                      {"flags", target.flags},
                      {"bandwidth_gb_per_second", target.bandwidth_gbs},
                      {"gmacs", target.gmacs},
                      {"runs_here", here}});
    else
      output("{:<16} {:<14} {:<6} {:>8.0f} {:>8.0f}  {}\n", target.name, target.family,
             here ? "yes" : "no", target.bandwidth_gbs, target.gmacs,
             fmt::join(target.machines.empty() ? target.features : target.machines, " "));
  }
  if (json) write_output(list.dump(2) + "\n");
}

}  // namespace

void add_targets(CommandLine& line) {
  auto json = std::make_shared<bool>(false);
  CLI::App& app = line.add(
      "targets",
      "List what plans can be compiled for: family, whether this machine can run it, and the "
      "bandwidth and multiply rate that predictions assume.",
      "sinter targets", [json]() -> runtime::Result<int> {
        print_targets(*json);
        return 0;
      });
  app.add_flag("--json", *json, "Print the table as JSON");
}

}  // namespace sinter::tools
