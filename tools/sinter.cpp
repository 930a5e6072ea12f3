// sinter: compiles models into plans, runs them, and shows every stage between.
#include "tools/command.h"
#include "tools/compiler_commands.h"
#include "tools/process.h"

int main(int argc, char** argv) {
  using namespace sinter::tools;
  set_up_process("sinter");
  Program program;
  program.name = "sinter";
  add_compiler(program);
  CommandLine line(program,
                   "Compiles low-bit language models ahead of time into plans, and runs them.");
  add_compile(line);
  add_convert(line);
  add_run(line);
  add_inspect(line);
  add_dump(line);
  add_explain(line);
  add_opt(line);
  add_logits(line);
  add_compare(line);
  add_eval(line);
  add_bench(line);
  add_profile(line);
  add_verify(line);
  add_tokenize(line);
  add_chat_template(line);
  add_targets(line);
  add_arch(line);
  add_capture(line);
  add_doctor(line);
  return line.run(argc, argv);
}
