// Small tools that passes share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/ops.h"
#include "ir/regions.h"

namespace sinter::passes {

// Every use of a value of the map, in nodes, bodies and returns, becomes a use of the value that it
// is mapped to.
void replace_uses(ir::Module& module, const std::map<ir::ValueId, ir::ValueId>& replaced);

// Removes nodes whose results nobody uses (those that update states stay), and weights that nobody
// uses.
void erase_dead(ir::Module& module);

// Puts `body` in a `fused` node. Its results are the values of the body that are used outside of
// it. `uses` counts all uses in the module, the body's own included.
ir::Node make_fused(ir::RegionKind kind, std::string label, std::vector<ir::Node> body,
                    const std::vector<int>& uses);

// What leaves the body: values it defines that have more uses than it makes itself.
std::vector<ir::ValueId> leaving_values(const std::vector<ir::Node>& body,
                                        const std::vector<int>& uses);

}  // namespace sinter::passes
