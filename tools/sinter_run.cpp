// sinter-run: runs plans. The runtime and nothing else: no compiler is linked.
#include "tools/command.h"
#include "tools/process.h"

int main(int argc, char** argv) {
  using namespace sinter::tools;
  set_up_process("sinter-run");
  Program program;
  program.name = "sinter-run";
  CommandLine line(program, "Runs low-bit language models that `sinter` compiled into plans.");
  add_run(line);
  add_inspect(line);
  add_explain(line);
  add_logits(line);
  add_compare(line);
  add_eval(line);
  add_bench(line);
  add_profile(line);
  add_verify(line);
  add_tokenize(line);
  add_chat_template(line);
  add_doctor(line);
  return line.run(argc, argv);
}
