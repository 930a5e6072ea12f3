// The text of a module: what parses must print and parse back the same, in every form, and go
// through the passes.
#include <string>

#include "ir/dot.h"
#include "ir/json.h"
#include "ir/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  const auto module = ir::parse(input, "input");
  if (!module.ok() && module.status().message().empty()) fail("an error without a message");
  if (!module.ok()) return;
  const std::string printed = ir::print(*module);
  const auto again = ir::parse(printed, "printed");
  if (!again.ok() || ir::print(*again) != printed)
    fail("a module does not come back the same", printed);
  if (ir::to_dot(*module).empty() || ir::to_json(*module).dump().empty())
    fail("a module has no picture");
  use_graph(*module, nullptr);
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
