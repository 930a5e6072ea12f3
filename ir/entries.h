// Which nodes of a module belong to which of its entries.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace sinter::ir {

// Name of the entry that every module has.
inline constexpr std::string_view kForward = "forward";

// All entries, "forward" first.
std::vector<Entry> entries_of(const Module& module);

// Positions of the nodes of each entry, in order: those that compute from its parameters. What is
// made of weights alone belongs to the entry that reads it, to the first when several do. Also of
// modules that the verifier refuses: a node of several entries is then one of the first.
std::vector<std::vector<size_t>> nodes_by_entry(const Module& module);

}  // namespace sinter::ir
