#include "runtime/text/tokenizer/trie.h"

#include <algorithm>
#include <cstddef>

namespace sinter::runtime::tokenizer {
size_t Trie::common_prefix(std::string_view a, std::string_view b) {
  const auto size = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + size, b.begin()).first -
                             a.begin());
}

// Appends a node for each byte that follows what the entries of `range` have in common, and to
// `children` the entries that lie below it.
void Trie::add_children(const std::vector<Entry>& entries, const Range& range,
                        std::vector<Range>* children) {
  for (uint32_t begin = range.begin; begin < range.end;) {
    const std::string_view first = entries[begin].text;
    uint32_t end = begin + 1;
    while (end < range.end && entries[end].text[range.length] == first[range.length]) ++end;
    const size_t length = common_prefix(first, entries[end - 1].text);
    nodes_.push_back({first.data() + range.length, static_cast<uint32_t>(length - range.length)});
    children->push_back({begin, end, static_cast<uint32_t>(length)});
    begin = end;
  }
}

Trie::Trie(std::vector<Entry> entries) {
  by_first_byte_.fill(kNone);
  std::erase_if(entries, [](const Entry& entry) { return entry.text.empty(); });
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    const int order = a.text.compare(b.text);
    return order != 0 ? order < 0 : a.id < b.id;
  });
  // As many as there can be: pages that no node comes to stay untouched.
  nodes_.reserve(2 * entries.size());
  // Level by level: the nodes of one are those that the level before has just appended.
  std::vector<Range> level, next;
  add_children(entries, {0, static_cast<uint32_t>(entries.size()), 0}, &level);
  for (uint32_t i = 0; i < nodes_.size(); ++i)
    by_first_byte_[static_cast<uint8_t>(*nodes_[i].edge)] = i;
  for (size_t node = 0; !level.empty(); level.swap(next), next.clear()) {
    for (Range range : level) {
      if (entries[range.begin].text.size() == range.length) {
        nodes_[node].id = entries[range.begin].id;
        while (range.begin < range.end && entries[range.begin].text.size() == range.length)
          ++range.begin;
      }
      const size_t first_child = nodes_.size();
      add_children(entries, range, &next);
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
