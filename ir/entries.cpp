#include "ir/entries.h"

#include <algorithm>
#include <map>

namespace sinter::ir {

std::vector<Entry> entries_of(const Module& module) {
  std::vector<Entry> entries = {{std::string(kForward), module.params, module.returns}};
  entries.insert(entries.end(), module.further.begin(), module.further.end());
  return entries;
}

std::vector<std::vector<size_t>> nodes_by_entry(const Module& module) {
  std::vector<std::vector<size_t>> nodes(module.further.size() + 1);
  if (module.further.empty()) {
    for (size_t i = 0; i < module.nodes.size(); ++i) nodes[0].push_back(i);
    return nodes;
  }
  std::map<ValueId, size_t> of;  // entry of a tensor
  const std::vector<Entry> entries = entries_of(module);
  for (size_t e = 0; e < entries.size(); ++e)
    for (const ValueId id : entries[e].params) of.emplace(id, e);
  const size_t unknown = entries.size();
  std::vector<size_t> entry(module.nodes.size(), unknown);
  for (size_t i = 0; i < module.nodes.size(); ++i) {
    const Node& node = module.nodes[i];
    for (const ValueId id : inputs_of(node))
      if (const auto at = of.find(id); at != of.end()) entry[i] = std::min(entry[i], at->second);
    if (entry[i] == unknown) continue;
    for (const ValueId id : node.results) of.emplace(id, entry[i]);
  }
  // Backwards, what reads a value is known before what makes it.
  std::map<ValueId, size_t> reader;
  for (size_t i = module.nodes.size(); i-- > 0;) {
    const Node& node = module.nodes[i];
    for (const ValueId id : node.results)
      if (const auto at = reader.find(id); at != reader.end() && entry[i] == unknown)
        entry[i] = at->second;
    if (entry[i] == unknown) entry[i] = 0;
    for (const ValueId id : inputs_of(node)) {
      const auto [at, inserted] = reader.emplace(id, entry[i]);
      at->second = std::min(at->second, entry[i]);
    }
  }
  for (size_t i = 0; i < module.nodes.size(); ++i) nodes[entry[i]].push_back(i);
  return nodes;
}

}  // namespace sinter::ir
