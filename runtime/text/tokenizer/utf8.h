// UTF-8 scanning and the Unicode classes that tokenizers ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sinter::runtime::tokenizer {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Unit {
  enum class Kind { kValid, kInvalid, kIncomplete };
  Kind kind;
  uint32_t code_point;  // only for kValid
  size_t length;        // bytes; for kInvalid the maximal invalid part (Unicode 15, section 3.9)
};

// The first unit of `bytes`, which must not be empty. kIncomplete: all of `bytes` is the beginning
// of a sequence that further bytes could complete.
Utf8Unit next_utf8(std::string_view bytes);

// The last code point of `text`: valid UTF-8, not empty.
uint32_t last_code_point(std::string_view text);

void append_utf8(uint32_t code_point, std::string* out);
std::string replace_invalid_utf8(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

// The Unicode property White_Space.
bool is_white_space(uint32_t code_point);
// A word character in the sense of UTS #18: Alphabetic, marks, decimal digits, connector
// punctuation, join controls.
bool is_word(uint32_t code_point);

}  // namespace sinter::runtime::tokenizer
