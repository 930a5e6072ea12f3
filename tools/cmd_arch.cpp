// arch: which models are known, and what describes one that is not.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "frontends/gguf/architectures.h"
#include "frontends/json_fields.h"
#include "frontends/open/open_checkpoint.h"
#include "models/blocks/flags.h"
#include "models/likeness.h"
#include "models/registry.h"
#include "models/user/entries.h"
#include "tools/architectures.h"
#include "tools/command.h"
#include "tools/model_input.h"
#include "tools/model_options.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using models::Family;
using runtime::Result;

struct ArchCommand {
  std::string model;
  std::vector<std::string> arch_from;
  bool json = false;
  bool markdown = false;
  bool flags = false;
};

// The architectures of GGUF files that become this model_type.
std::vector<std::string_view> gguf_names(std::string_view model_type) {
  std::vector<std::string_view> names;
  for (const auto& architecture : frontends::gguf_architectures())
    if (architecture.model_type == model_type || architecture.other_model_type == model_type)
      names.push_back(architecture.name);
  return names;
}

void print_families(const std::vector<Family>& own, bool json) {
  auto list = nlohmann::ordered_json::array();
  if (!json) output("{:<20} {}\n", "model_type", "general.architecture of GGUF files");
  for (const Family& family : models::families()) {
    if (models::find_family(family.model_type, own)->entry) continue;  // replaced
    const auto gguf = gguf_names(family.model_type);
    if (json) {
      list.push_back({{"model_type", family.model_type}, {"gguf", gguf}});
    } else {
      output("{:<20} {}\n", family.model_type, fmt::join(gguf, ", "));
    }
  }
  for (const Family& family : own) {
    const std::string& path = family.entry->sources.front().path;
    if (json) {
      list.push_back({{"model_type", family.model_type},
                      {"gguf", gguf_names(family.model_type)},
                      {"base", family.entry->base},
                      {"file", path}});
    } else {
      output("{:<20} as {}, by {}\n", printable(family.model_type), family.entry->base,
             printable(path));
    }
  }
  if (json) write_output(list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

// docs/supported-models.md.
void print_markdown() {
  output(
      "# Models\n\n"
      "What `sinter arch --markdown` prints: a row for each `model_type` of `config.json` that is "
      "known. Every family is read from folders as Hugging Face and MLX have them "
      "(safetensors, or PyTorch's pickles), those with a name in the second column from GGUF files "
      "of that `general.architecture`, too.\n"
      "A model of another name may be one of these: [an entry](own-architectures.md) says so.\n\n"
      "The golden case is the checkpoint whose logits, computed by `transformers`, those of the "
      "family are compared with; a row without one is another name of a family that has it.\n\n"
      "Phases are those of a layer in a step of one row on a GPU. The target is three for "
      "attention "
      "or a convolution, four for a delta net or a state space, two for an MLP, three for experts "
      "and one more where every token goes through a shared MLP beside them; that MLP's products "
      "share the phases of the router and of the experts, so most families need none for it. "
      "`tests/codegen/families_test.cpp` counts phases, and `tests/codegen/families/` has the "
      "graphs before and after the passes.\n\n"
      "| model_type | GGUF | golden case | phases of a layer |\n"
      "|---|---|---|---|\n");
  for (const Family& family : models::families())
    output("| {} | {} | {} | {} |\n", family.model_type,
           fmt::join(gguf_names(family.model_type), ", "), family.golden, family.phases);
}

void print_flags() {
  for (const models::FlagText& flag : models::flag_texts())
    output("{}: {}\n    {}\n", flag.name, flag.values, flag.what);
}

// An entry for the model, and on stderr how well its base fits.
Result<int> print_entry(const std::string& path, const std::vector<Family>& own) {
  const auto checkpoint = frontends::open_checkpoint(path);
  if (!checkpoint.ok()) return to_error(checkpoint.status());
  const frontends::Checkpoint& c = **checkpoint;
  const auto type = frontends::get_string(c.config, "model_type", c.config_file);
  if (!type.ok()) return to_error(type.status());
  const Family* known = models::find_family(*type, own);
  const Family* base =
      known == nullptr || !known->entry ? known : models::find_family(known->entry->base);
  const models::Likeness like = base != nullptr ? models::likeness(c, *base) : models::most_like(c);
  write_output(
      models::entry_for(*type, like).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
      "\n");
  if (like.is_complete()) {
    note(printable(
        fmt::format("{}: all tensors are called as in {}", path, like.family->model_type)));
  } else {
    const auto names = [](const std::vector<std::string>& all) {
      constexpr size_t kMost = 20;
      const size_t shown = std::min(kMost, all.size());
      return fmt::format(
          "{}{}", fmt::join(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
          shown < all.size() ? ", ..." : "");
    };
    note(printable(fmt::format("{}: is most like {}", path, like.family->model_type)));
    if (!like.missing.empty())
      note(
          printable(fmt::format("{} asks for {}, which no tensor of that shape is called: name "
                                "them on the right sides of \"tensors\"",
                                like.family->model_type, names(like.missing))));
    if (!like.unused.empty())
      note(
          printable(fmt::format("{} has no use for {}: give them its names in \"tensors\", or list "
                                "them in \"skipped\"",
                                like.family->model_type, names(like.unused))));
  }
  return 0;
}

Result<int> arch(const ArchCommand& command) {
  if (command.flags || command.markdown) {
    command.flags ? print_flags() : print_markdown();
    return 0;
  }
  const auto own = own_families(command.arch_from);
  if (!own.ok()) return own.error();
  if (!command.model.empty()) return print_entry(command.model, *own);
  print_families(*own, command.json);
  return 0;
}

}  // namespace

void add_arch(CommandLine& line) {
  auto command = std::make_shared<ArchCommand>();
  CLI::App& app = line.add(
      "arch",
      "List the architectures that models can have: \"model_type\" of config.json, and what GGUF "
      "files call it. With a MODEL: print an entry that describes its architecture on the base of "
      "the one that is most like it, to be edited and given to --arch-from or put into "
      "$XDG_CONFIG_HOME/sinter/architectures.",
      "sinter arch models/new-model > new-model.json", [command] { return arch(*command); });
  app.add_option("MODEL", command->model, "A model folder or a .gguf file");
  add_arch_option(app, command->arch_from);
  CLI::Option* json = app.add_flag("--json", command->json, "Print the list as JSON");
  CLI::Option* flags =
      app.add_flag("--flags", command->flags, "List the flags of \"blocks\" of an entry");
  CLI::Option* markdown = app.add_flag("--markdown", command->markdown,
                                       "Print what is built in as docs/supported-models.md has it");
  json->excludes(flags)->excludes(markdown);
  markdown->excludes(flags);
}

}  // namespace sinter::tools
