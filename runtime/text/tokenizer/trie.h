// Which of a set of texts another text begins with: a radix tree.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sinter::runtime::tokenizer {

class Trie {
 public:
  struct Entry {
    std::string_view text;  // must outlive the tree
    int32_t id;
  };

  // Empty texts are left out; of equal ones that with the lowest id counts.
  explicit Trie(std::vector<Entry> entries = {});

  // Calls found(length, id) for each entry that `text` begins with, shorter ones first. Returns how
  // many bytes of `text` were looked at: at most as many as the longest entry has.
  template <class Found>
  size_t prefixes_of(std::string_view text, Found found) const {
    if (text.empty()) return 0;
    uint32_t at = by_first_byte_[static_cast<uint8_t>(text[0])];
    size_t length = 0;
    while (at != kNone) {
      const Node& node = nodes_[at];
      const size_t same =
          common_prefix(text.substr(length), std::string_view(node.edge, node.edge_length));
      length += same;
      if (same != node.edge_length) break;
      if (node.id >= 0) found(length, node.id);
      if (length == text.size()) break;
      at = child(node, static_cast<uint8_t>(text[length]));
    }
    return length + 1;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static size_t common_prefix(std::string_view a, std::string_view b);  // its length
  // The children of a node stand side by side, in the order of their first bytes.
  struct Node {
    const char* edge;  // the bytes that lead here from the parent, at least one
    uint32_t edge_length;
    int32_t id = -1;  // of the entry that ends here
    uint32_t first_child = 0;
    uint16_t children = 0;
  };
  // Entries [begin, end) have their first `length` bytes in common.
  struct Range {
    uint32_t begin, end, length;
  };
  uint32_t child(const Node& node, uint8_t byte) const;
  void add_children(const std::vector<Entry>& entries, const Range& range,
                    std::vector<Range>* children);

  std::vector<Node> nodes_;
  std::array<uint32_t, 256> by_first_byte_;
};

}  // namespace sinter::runtime::tokenizer
