// Split patterns of byte-level BPE tokenizers that come without a tokenizer.json: such files only
// name the pattern, by `tokenizer.ggml.pre` or by the class of the tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sinter::runtime::tokenizer {

struct SplitPatterns {
  std::vector<std::string> patterns;  // each splits further what the one before it left
  bool ignore_merges = false;         // a word that is a token is that token
  bool nfc = false;
  bool add_bos = false;  // unless the file says otherwise
};

// `pre`: a name of GGUF's "tokenizer.ggml.pre". nullptr if it is not known.
const SplitPatterns* find_split_patterns(std::string_view pre);
// "default, gpt-2, ..."
std::string known_split_patterns();

}  // namespace sinter::runtime::tokenizer
