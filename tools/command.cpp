#include "tools/command.h"

#include <fmt/format.h>

#include <exception>
#include <iostream>
#include <new>

#include "tools/help.h"
#include "tools/terminal.h"

namespace sinter::tools {

CommandLine::CommandLine(const Program& program, const std::string& description)
    : program_(program), app_(description, program.name) {
  app_.formatter(std::make_shared<HelpFormatter>());
  app_.set_version_flag("--version", fmt::format("{} {}", program.name, SINTER_VERSION));
  app_.footer(fmt::format("`{} COMMAND --help` explains a command.", program.name));
}

CLI::App& CommandLine::add(const std::string& name, const std::string& description,
                           const std::string& example, Action action) {
  CLI::App* sub = app_.add_subcommand(name, description);
  sub->group("Commands");
  sub->footer("Example:\n  " + example);
  sub->callback([this, action = std::move(action)] { chosen_ = action; });
  return *sub;
}

int CommandLine::fail(int code, const std::string& message) const {
  note(fmt::format("{}: {}", program_.name, printable(message)));
  return code;
}

int CommandLine::parse_and_run(int argc, const char* const* argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (first.empty())
    return fail(kExitBadInput,
                fmt::format("no command was given; `{} --help` lists them", program_.name));
  const auto is_first = [&](const CLI::App* sub) { return sub->get_name() == first; };
  if (first[0] != '-' && app_.get_subcommands(is_first).empty())
    return fail(kExitBadInput, fmt::format("\"{}\" is not a command; `{} --help` lists them", first,
                                           program_.name));
  try {
    app_.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    app_.exit(success, std::cout, std::cerr);
    std::cout.flush();
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto subcommands = app_.get_subcommands();
    const std::string command =
        subcommands.empty() ? program_.name : program_.name + " " + subcommands[0]->get_name();
    return fail(kExitBadInput, fmt::format("{}; see `{} --help`", error.what(), command));
  }
  if (!chosen_)
    return fail(kExitBadInput,
                fmt::format("no command was given; `{} --help` lists them", program_.name));
  const runtime::Result<int> code = chosen_();
  const std::string lost = flush_output();
  if (!code.ok()) return fail(kExitBadInput, code.error().message);
  return lost.empty() ? *code : fail(kExitBadInput, lost);
}

int CommandLine::run(int argc, const char* const* argv) {
  try {
    return parse_and_run(argc, argv);
  } catch (const Interrupted&) {
    flush_output();
    return kExitInterrupted;
  } catch (const std::bad_alloc&) {
    return fail(kExitBadInput, "out of memory; close other programs or use a smaller model");
  } catch (const std::exception& error) {
    return fail(
        kExitBug,
        fmt::format("internal error: {}; this is a bug in sinter, please report it", error.what()));
  }
}

}  // namespace sinter::tools
