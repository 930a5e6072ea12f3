// Models whose attention sees windows.
#pragma once

#include <gtest/gtest.h>

#include <variant>

#include "ir/graph.h"
#include "ir/ops.h"

namespace sinter {

// The attention of the first layer sees the last `window` positions, and no more are kept; layers
// with other caches keep all.
inline void give_window(ir::Module& module, int64_t window) {
  ir::ValueId keys = -1;
  for (ir::Node& node : module.nodes) {
    if (node.op != ir::Op::attention || (keys >= 0 && node.operands[1] != keys)) continue;
    keys = node.operands[1];
    node.attributes["window"] = window;
    for (const size_t i : {1, 2}) {
      auto& state = std::get<ir::StateType>(module.values[node.operands[i]].type);
      state.kind = ir::StateKind::ring;
      state.numbers.shape[1] = window;
    }
  }
  if (keys < 0) ADD_FAILURE() << "no attention";
}

}  // namespace sinter
