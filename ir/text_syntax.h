// Lexical rules that the printer and the parser of the text form share.
#pragma once

#include <algorithm>
#include <string_view>

namespace sinter::ir {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Characters of a symbol that needs no quotes.
inline bool is_symbol_char(char c) {
  return is_letter(c) || is_digit(c) || std::string_view("_.|-/").find(c) != std::string_view::npos;
}

inline bool is_plain_symbol(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), is_symbol_char);
}

// Keywords, op names, numbers and shapes: "func", "-1e-06", "Tx256xf32".
inline bool is_word_char(char c) {
  return is_letter(c) || is_digit(c) || std::string_view("_.+-").find(c) != std::string_view::npos;
}

}  // namespace sinter::ir
