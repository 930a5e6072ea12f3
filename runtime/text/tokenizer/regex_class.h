// Sets of characters in Oniguruma's syntax, rewritten for PCRE2: properties, [:posix:] brackets and
// classes with nesting and intersections.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/support/result.h"

namespace sinter::runtime::tokenizer {

// A position in a pattern.
struct PatternReader {
  std::string_view text;
  size_t at = 0;

  bool done() const { return at >= text.size(); }
  char peek(size_t ahead = 0) const { return at + ahead < text.size() ? text[at + ahead] : '\0'; }
  bool starts_with(std::string_view prefix) const {
    return text.substr(std::min(at, text.size())).starts_with(prefix);
  }
};

// What PCRE2 writes between [ and ], and whether the set is all other characters.
struct CharacterSet {
  std::string members;
  bool negated = false;
  // Holds with every character those that differ from it in case only.
  bool ignores_case = false;

  std::string atom() const { return (negated ? "[^" : "[") + members + "]"; }
};

// \s \S \w \W \d \D \h \H; nullopt for other letters. Outside of classes Oniguruma counts six more
// characters as \w: the numbers among the Latin-1 characters, from the superscript two on.
std::optional<CharacterSet> set_of_escape(char letter, bool in_class);

// At "\p{" or "\P{": reads up to the brace.
Result<CharacterSet> read_property(PatternReader* in, bool in_class);

// At a backslash: \n \t \x{..} \u.... \123 and the like, or an escaped character that stands for
// itself. Nullopt, and nothing is read, for escapes that are no single character. \b is a backspace
// in a class.
Result<std::optional<uint32_t>> read_escaped_character(PatternReader* in, bool in_class);

// At "[": reads the class. The result matches exactly one character.
Result<std::string> read_class(PatternReader* in, bool ignore_case);

// `code_point` as a literal, within a class or outside.
std::string literal(uint32_t code_point);

// The characters and the strings that Oniguruma's (?i) takes for each other though their lengths
// differ, as the sharp s and "ss".
bool folds_to_several(uint32_t code_point);
// Whether `folded` ends in such a string.
bool ends_in_several_folded(std::u32string_view folded);
uint32_t fold_case(uint32_t code_point);

}  // namespace sinter::runtime::tokenizer
