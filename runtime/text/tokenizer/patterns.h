// Split patterns of byte-level BPE tokenizers that come without a tokenizer.json: such files only
// name the pattern, by `tokenizer.ggml.pre` or by the class of the tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sinter::runtime::tokenizer {

// What the tokens of a vocabulary are spelled in.
enum class Alphabet {
  kBytes,         // GPT-2's: each byte is a printable character
  kSpaceSymbols,  // characters, U+2581 for a space, and tokens such as <0x0A> for other bytes
  kWords,         // characters; white space, which the patterns match, is in no token
};

struct SplitPatterns {
  std::vector<std::string> patterns;  // each splits further what the one before it left
  bool ignore_merges = false;         // a word that is a token is that token
  bool nfc = false;
  bool add_bos = false;  // unless the file says otherwise
  Alphabet alphabet = Alphabet::kBytes;
};

// `pre`: a name of GGUF's "tokenizer.ggml.pre". nullptr if it is not known.
const SplitPatterns* find_split_patterns(std::string_view pre);
std::vector<std::string_view> known_split_patterns();

}  // namespace sinter::runtime::tokenizer
