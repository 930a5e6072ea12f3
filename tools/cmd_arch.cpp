// arch: which models are known.
#include <memory>
#include <nlohmann/json.hpp>

#include "frontends/gguf/architectures.h"
#include "models/registry.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

// The architectures of GGUF files that become this model_type.
std::vector<std::string_view> gguf_names(std::string_view model_type) {
  std::vector<std::string_view> names;
  for (const auto& architecture : frontends::gguf_architectures())
    if (architecture.model_type == model_type || architecture.sparse_model_type == model_type)
      names.push_back(architecture.name);
  return names;
}

void print_families(bool json) {
  auto list = nlohmann::ordered_json::array();
  if (!json) output("{:<20} {}\n", "model_type", "general.architecture of GGUF files");
  for (const models::Family& family : models::families()) {
    const auto gguf = gguf_names(family.model_type);
    if (json) {
      list.push_back({{"model_type", family.model_type}, {"gguf", gguf}});
    } else {
      output("{:<20} {}\n", family.model_type, fmt::join(gguf, ", "));
    }
  }
  if (json) write_output(list.dump(2) + "\n");
}

}  // namespace

void add_arch(CommandLine& line) {
  auto json = std::make_shared<bool>(false);
  CLI::App& app = line.add(
      "arch",
      "List the architectures that models can have: \"model_type\" of config.json, and what GGUF "
      "files call it.",
      "sinter arch", [json]() -> runtime::Result<int> {
        print_families(*json);
        return 0;
      });
  app.add_flag("--json", *json, "Print the list as JSON");
}

}  // namespace sinter::tools
