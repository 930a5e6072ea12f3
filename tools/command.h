// The command line: subcommands, their help, errors on one line, exit codes.
//
//   0    done
//   1    a check that the command makes did not hold (verify, doctor, dump --check)
//   2    bad input or usage; one line on stderr
//   3    a bug in sinter; one line on stderr
//   130  stopped by Ctrl-C
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <string>

#include "runtime/support/result.h"
#include "tools/program.h"

namespace sinter::tools {

inline constexpr int kExitCheckFailed = 1;
inline constexpr int kExitBadInput = 2;
inline constexpr int kExitBug = 3;
inline constexpr int kExitInterrupted = 130;

// Gives the exit code; an Error is printed and gives kExitBadInput.
using Action = std::function<runtime::Result<int>()>;

class CommandLine {
 public:
  CommandLine(const Program& program, const std::string& description);

  const Program& program() const { return program_; }
  // A subcommand whose `action` runs after everything was parsed. `example` closes its help.
  CLI::App& add(const std::string& name, const std::string& description, const std::string& example,
                Action action);
  int run(int argc, const char* const* argv);

 private:
  int fail(int code, const std::string& message) const;
  int parse_and_run(int argc, const char* const* argv);

  const Program& program_;
  CLI::App app_;
  Action chosen_;
};

// Commands that both programs have.
void add_run(CommandLine& line);
void add_inspect(CommandLine& line);
void add_explain(CommandLine& line);
void add_logits(CommandLine& line);
void add_compare(CommandLine& line);
void add_eval(CommandLine& line);
void add_bench(CommandLine& line);
void add_profile(CommandLine& line);
void add_verify(CommandLine& line);
void add_tokenize(CommandLine& line);
void add_chat_template(CommandLine& line);
void add_doctor(CommandLine& line);

// Commands that need the compiler.
void add_compile(CommandLine& line);
void add_convert(CommandLine& line);
void add_dump(CommandLine& line);
void add_opt(CommandLine& line);
void add_targets(CommandLine& line);
void add_arch(CommandLine& line);
void add_capture(CommandLine& line);

}  // namespace sinter::tools
