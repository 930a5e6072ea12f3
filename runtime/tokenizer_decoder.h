// What each id decodes to, and how consecutive ids join.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/tokenizer_json.h"
#include "runtime/tokenizer_regex.h"

namespace sinter::runtime::tokenizer {

struct Decoder {
  enum class Kind {
    kSpaced,     // no decoder: tokens with a space between them
    kByteLevel,  // tokens are bytes in the byte-level alphabet
    kText,       // tokens are text, some of them single bytes
    kPieces,     // a SentencePiece model's tokens: text or single bytes, one space in front
  };
  Kind kind = Kind::kSpaced;
  bool byte_fallback = false;  // kText: "<0xHH>" is a byte

  // kText: the first token loses its spaces (Metaspace).
  bool drop_first_spaces = false;

  // kPieces: not just the dummy prefix, all spaces at the start go.
  bool strip_all_spaces = false;

  // kText: at the start of the whole text, up to strip_count times strip_content goes.
  std::string strip_content;
  int64_t strip_count = 0;

  // kText, for each token by itself, in this order.
  struct TokenStep {
    std::vector<Pattern> pattern;  // Replace: exactly one; Strip: none
    std::string content;
    int64_t strip_start = 0, strip_stop = 0;
  };
  std::vector<TokenStep> token_steps;
};

Decoder read_decoder(const JsonField& field);

// The text (kByteLevel: the bytes) of one token. Fails if a Replace makes it too large.
Result<std::string> token_text(const Decoder& decoder, std::string_view token);

// The byte that "<0xHH>" stands for, or -1.
int fallback_byte(std::string_view token_text);

}  // namespace sinter::runtime::tokenizer
