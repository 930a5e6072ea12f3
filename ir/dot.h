// A module as a GraphViz drawing.
#pragma once

#include <string>

#include "ir/graph.h"

namespace sinter::ir {

// Nodes with their types; fused nodes are clusters around their bodies, weights and states have
// shapes of their own.
std::string to_dot(const Module& module);

}  // namespace sinter::ir
