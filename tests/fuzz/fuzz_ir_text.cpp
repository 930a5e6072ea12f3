// Damages the text of a module and parses it; what parses must print and parse back the same.
// Usage: fuzz_ir_text COUNT
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "ir/dot.h"
#include "ir/json.h"
#include "ir/text.h"
#include "tests/fuzz/mutate.h"
#include "tests/ir/every_op.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s COUNT\n", argv[0]);
    return 2;
  }
  const int64_t count = std::atoll(argv[1]);
  uint64_t state = 0x5eed;
  int64_t parsed = 0;
  for (int64_t i = 0; i < count; ++i) {
    const std::string text = mutate(sinter::ir::kEveryOp, state);
    const auto module = sinter::ir::parse(text, "mutant");
    if (!module.ok()) {
      if (!module.status().message().empty()) continue;
      std::fprintf(stderr, "fuzz_ir_text: refused without a message:\n%s\n", text.c_str());
      return 1;
    }
    ++parsed;
    const std::string printed = sinter::ir::print(*module);
    const auto again = sinter::ir::parse(printed, "printed");
    if (!again.ok() || sinter::ir::print(*again) != printed) {
      std::fprintf(stderr, "fuzz_ir_text: does not come back the same:\n%s\n", printed.c_str());
      return 1;
    }
    if (sinter::ir::to_dot(*module).empty() || sinter::ir::to_json(*module).dump().empty())
      return 1;
  }
  std::printf("fuzz_ir_text: %lld texts, %lld parsed, %lld refused\n",
              static_cast<long long>(count), static_cast<long long>(parsed),
              static_cast<long long>(count - parsed));
  return 0;
}
