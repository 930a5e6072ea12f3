#include "runtime/tokenizer_trie.h"

#include <algorithm>

namespace sinter::runtime::tokenizer {
size_t Trie::common_prefix(std::string_view a, std::string_view b) {
  const auto size = static_cast<ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + size, b.begin()).first -
                             a.begin());
}

// Appends a node for each first byte of entries[begin, end) behind their common `depth` bytes, and
// for each of these nodes the entries that lie below it and their common length.
void Trie::add_children(const std::vector<Entry>& entries, size_t begin, size_t end, size_t depth,
                        std::vector<std::array<size_t, 3>>* ranges) {
  while (begin < end) {
    const std::string_view first = entries[begin].text;
    size_t group_end = begin + 1;
    while (group_end < end && entries[group_end].text[depth] == first[depth]) ++group_end;
    const size_t length = common_prefix(first, entries[group_end - 1].text);
    nodes_.push_back({first.data() + depth, static_cast<uint32_t>(length - depth)});
    ranges->push_back({begin, group_end, length});
    begin = group_end;
  }
}

Trie::Trie(std::vector<Entry> entries) {
  by_first_byte_.fill(kNone);
  std::erase_if(entries, [](const Entry& entry) { return entry.text.empty(); });
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    const int order = a.text.compare(b.text);
    return order != 0 ? order < 0 : a.id < b.id;
  });
  // Level by level: the nodes of one are those that the level before has just appended.
  std::vector<std::array<size_t, 3>> level, next;
  add_children(entries, 0, entries.size(), 0, &level);
  for (uint32_t i = 0; i < nodes_.size(); ++i)
    by_first_byte_[static_cast<uint8_t>(*nodes_[i].edge)] = i;
  for (size_t node = 0; !level.empty(); level.swap(next), next.clear()) {
    for (const auto& range : level) {
      auto [begin, end, depth] = range;
      if (entries[begin].text.size() == depth) {
        nodes_[node].id = entries[begin].id;
        while (begin < end && entries[begin].text.size() == depth) ++begin;
      }
      const size_t first_child = nodes_.size();
      add_children(entries, begin, end, depth, &next);
      nodes_[node].first_child = static_cast<uint32_t>(first_child);
      nodes_[node].children = static_cast<uint16_t>(nodes_.size() - first_child);
      ++node;
    }
  }
}

uint32_t Trie::child(const Node& node, uint8_t byte) const {
  const auto begin = nodes_.begin() + node.first_child;
  const auto end = begin + node.children;
  const auto found = std::lower_bound(
      begin, end, byte, [](const Node& n, uint8_t b) { return static_cast<uint8_t>(*n.edge) < b; });
  if (found == end || static_cast<uint8_t>(*found->edge) != byte) return kNone;
  return static_cast<uint32_t>(found - nodes_.begin());
}

}  // namespace sinter::runtime::tokenizer
