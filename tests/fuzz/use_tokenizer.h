// What is done with a tokenizer that loads.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace sinter::fuzz {

// Unlike those of other readers, errors quote patterns and tokens as they are; programs print them
// as one line.
inline void check_quoting(const runtime::Error& error) {
  if (error.message.empty()) fail("an error without a message");
}

// Encodes and decodes: ids lie in the vocabulary, and decoding piece by piece gives the same text.
inline void use_tokenizer(const runtime::Result<runtime::Tokenizer>& tokenizer,
                          std::string_view text) {
  if (!tokenizer.ok()) return check_quoting(tokenizer.error());
  for (const bool special : {false, true}) {
    const auto ids = tokenizer->encode(text, special, special);
    if (!ids.ok()) {
      check_quoting(ids.error());
      continue;
    }
    runtime::StreamingDecoder decoder(*tokenizer, special);
    std::string streamed;
    for (const int32_t id : *ids) {
      if (id < 0 || id >= tokenizer->vocab_size()) fail("an id outside of the vocabulary");
      streamed += decoder.push(id);
    }
    streamed += decoder.flush();
    const auto decoded = tokenizer->decode(*ids, special);
    if (!decoded.ok())
      check_quoting(decoded.error());
    else if (streamed != *decoded)
      fail("decoding piece by piece gives another text", streamed);
  }
}

inline constexpr std::string_view kAnyText =
    "The 12 caf\xC3\xA9s' e\xCC\x81 <s> <|im_start|> \xEF\xBC\xA1\n\n \xF0\x9F\x98\x80 \xFF  abc ";

}  // namespace sinter::fuzz
