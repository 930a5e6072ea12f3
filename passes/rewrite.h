// Small tools that passes share.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/ops.h"
#include "ir/regions.h"
#include "passes/pass.h"

namespace sinter::passes {

// Every use of a value of the map, in nodes, bodies and returns, becomes a use of the value that it
// is mapped to.
void replace_uses(ir::Module& module, const std::map<ir::ValueId, ir::ValueId>& replaced);

// Removes the nodes that are `taken`, each by its position.
void erase_nodes(ir::Module& module, const std::vector<bool>& taken);

// Removes nodes whose results nobody uses (those that update states stay), and weights that nobody
// uses.
void erase_dead(ir::Module& module);

// Puts `body` in a `fused` node. Its results are the values of the body that are used outside of
// it. `uses` counts all uses in the module, the body's own included.
ir::Node make_fused(ir::RegionKind kind, std::string label, std::vector<ir::Node> body,
                    const std::vector<int>& uses);

// The nodes at the positions `members` become a phase at the position `at`, one of them, of which a
// remark of `pass` says what it saves; `taken` says which nodes it took from where they were.
// `uses` counts all uses in the module.
void form_phase(ir::Module& module, PassContext& context, const char* pass, ir::RegionKind kind,
                size_t at, const std::set<size_t>& members, const std::vector<int>& uses,
                std::vector<bool>& taken);

// Work on rows outside of phases moves down to just before the first that needs it.
void sink_rows(ir::Module& module);

// Rows times a matrix, or times those that a router chose.
bool is_product(const ir::Node& node);

// Every product outside a phase begins one.
void form_products(ir::Module& module);

// The products of a phase; all have one input.
std::vector<ir::Node*> products_of(ir::Node& group);
std::vector<const ir::Node*> products_of(const ir::Node& group);

// What leaves the body: values it defines that have more uses than it makes itself.
std::vector<ir::ValueId> leaving_values(const std::vector<ir::Node>& body,
                                        const std::vector<int>& uses);

}  // namespace sinter::passes
