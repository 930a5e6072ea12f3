// Added tokens: found in the text before BPE sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sinter::runtime::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // decoding can skip it
  bool normalized = false;   // matched in normalized text, in its normalized form
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool single_word = false;  // only where no word character touches it
};

// A part of a text: a token, or (token == nullptr) text between tokens.
struct Segment {
  const AddedToken* token;
  std::string_view text;
};

// Finds the leftmost, then longest of a set of tokens.
class AddedTokenMatcher {
 public:
  // `token` must outlive the matcher. The first token added for a text wins; empty texts never
  // match.
  void add(std::string_view text, const AddedToken* token);
  // The parts of `text` (valid UTF-8) in order; white space that a token strips is in none of them.
  std::vector<Segment> split(std::string_view text) const;

 private:
  const AddedToken* longest_match(std::string_view text, size_t* length) const;

  // A byte trie: (node << 8 | byte) to the next node. Node 0 is the root.
  std::unordered_map<uint64_t, uint32_t> edges_;
  std::vector<const AddedToken*> token_at_ = {nullptr};
  std::vector<bool> is_first_byte_ = std::vector<bool>(256, false);
};

}  // namespace sinter::runtime::tokenizer
