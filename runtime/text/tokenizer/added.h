// Added tokens: found in the text before the model sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/trie.h"

namespace sinter::runtime::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // decoding can skip it
  bool normalized = false;   // matched in normalized text, in its normalized form
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool single_word = false;  // only where no word character touches it
  // What the normalizer makes of `content`, if that is something else: it is what is decoded.
  std::string normalized_content = {};
};

// A part of a text: a token, or text between tokens.
struct Segment {
  int32_t id;  // of the token; -1 for text
  std::string_view text;

  bool is_token() const { return id >= 0; }
};

// Finds the leftmost, then longest of a set of tokens.
class AddedTokenMatcher {
 public:
  // `text` must outlive the matcher. The first token added for a text wins; empty texts never
  // match. finish() ends the adding.
  void add(std::string_view text, const AddedToken& token) {
    add(text, {token.id, token.lstrip, token.rstrip, token.single_word});
  }
  void add(std::string_view text, int32_t id) { add(text, Rule{.id = id}); }
  void finish();
  // The parts of `text` (valid UTF-8) in order; white space that a token strips is in none of them.
  // Fails on texts that begin long tokens again and again.
  Result<std::vector<Segment>> split(std::string_view text) const;

 private:
  // How a token is found; the fields are AddedToken's.
  struct Rule {
    int32_t id;
    bool lstrip = false, rstrip = false, single_word = false;
  };
  void add(std::string_view text, Rule rule);

  std::vector<Trie::Entry> entries_;  // until finish(); ids are places in rules_
  std::vector<Rule> rules_;
  Trie trie_;
};

}  // namespace sinter::runtime::tokenizer
