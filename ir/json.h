// A module as JSON, for tools that read dumps.
#pragma once

#include "ir/graph.h"
#include "nlohmann/json.hpp"

namespace sinter::ir {

// {"name", "weights": [{"name", "type", "bytes", "source" or "constant"}], "states": [{"name",
// "type"}],
//  "params": [{"name", "type"}], "nodes": [{"op", "operands", "results": [{"name", "type"}],
//  "attributes", "label", "body"}], "returns"}; values are named as in the text form. All strings
//  are UTF-8: other bytes become '?'.
nlohmann::json to_json(const Module& module);

}  // namespace sinter::ir
