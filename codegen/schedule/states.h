// States of a module as kernels keep them, on any device: the one place that knows their sizes.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "ir/graph.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

struct StateTable {
  std::vector<runtime::PlanState> states;
  std::map<ir::ValueId, uint32_t> numbers;  // of a state of the module among them
  runtime::StateLayout layout;

  const runtime::PlanState& at(ir::ValueId id) const { return states[numbers.at(id)]; }
};

// `most_rows`: of a step.
StateTable states_of(const ir::Module& module, int64_t most_rows);

}  // namespace sinter::codegen
