// The precompiled normalization table of a SentencePiece model: the longest of a set of prefixes of
// the text is replaced. A double-array trie in the format of darts-clone, then the replacements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime::tokenizer {

class Charsmap {
 public:
  // `bytes`: u32 size of the trie in bytes, the trie, NUL-terminated replacements.
  static Result<Charsmap> parse(std::string_view bytes);

  struct Match {
    size_t length = 0;  // bytes of the text; 0: nothing matches
    std::string_view replacement;
  };
  Match longest_match(std::string_view text) const { return match(text, /*shortest=*/false); }
  Match shortest_match(std::string_view text) const { return match(text, /*shortest=*/true); }

 private:
  Match match(std::string_view text, bool shortest) const;
  std::vector<uint32_t> units_;
  std::string replacements_;  // ends in NUL
};

}  // namespace sinter::runtime::tokenizer
