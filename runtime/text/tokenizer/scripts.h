// Which script a character is written in, as SentencePiece and Hugging Face's UnicodeScripts ask.
#pragma once

#include <cstdint>

namespace sinter::runtime::tokenizer {

// Neither a script nor Common nor Inherited: the space, and what Unicode 9 did not assign or had in
// no script.
inline constexpr uint8_t kAnyScript = 0;

// The property Script of Unicode 9, as a number; Hiragana and Katakana count as Han.
uint8_t script_of(uint32_t code_point);

}  // namespace sinter::runtime::tokenizer
