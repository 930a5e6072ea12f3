// The order of the passes: the table of contents of the compiler's middle.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "passes/pass.h"

namespace sinter::passes {

struct Pass {
  std::string_view name;
  std::string_view summary;
  PassFunction run;
  // Without it models are compiled, too, only not as well: to measure what it does.
  bool optional = false;
};

const std::vector<Pass>& pipeline();
const Pass* find_pass(std::string_view name);

// Runs every pass but those that `without` names in order, verifying after each; `after` (may be
// empty) sees the module as each pass leaves it.
absl::StatusOr<ir::Module> run_pipeline(
    ir::Module module, PassContext& context,
    const std::function<void(const Pass&, const ir::Module&)>& after = {},
    const std::vector<std::string>& without = {});

}  // namespace sinter::passes
