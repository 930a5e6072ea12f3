// What every pass is given and leaves behind. A pass is one free function, module in, module out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::passes {

// Why something was or was not done; ends up in the plan.
struct Remark {
  std::string pass;
  bool accepted = false;
  std::string subject;  // label of the node, name of the weight
  std::string reason;
  int64_t bytes_saved = 0;     // of memory traffic or storage
  int64_t launches_saved = 0;  // phases per step
};

struct PassContext {
  const ir::MatrixSource* source = nullptr;  // null when there are no weights to look at
  std::vector<Remark> remarks;
};

using PassFunction = absl::StatusOr<ir::Module> (*)(ir::Module, PassContext&);

}  // namespace sinter::passes
