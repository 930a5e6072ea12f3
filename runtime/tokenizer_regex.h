// Patterns of a tokenizer.json, matched by PCRE2 with the meaning that Oniguruma (Ruby syntax,
// which Hugging Face tokenizers uses) gives them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/result.h"

namespace sinter::runtime::tokenizer {

struct Span {
  size_t begin;
  size_t end;
  bool is_match;
};

class Pattern {
 public:
  // Refuses what PCRE2 would read differently from Oniguruma and what has no translation (nested
  // classes, class intersections).
  static Result<Pattern> regex(std::string_view pattern);
  static Result<Pattern> literal(std::string_view text);

  // Cuts `text` (valid UTF-8, not empty) into matches and what lies between them, in order,
  // covering all of it. Empty matches are included, but not directly after another match. Fails if
  // the pattern exceeds its match limit, which grows with the text.
  Result<std::vector<Span>> find_all(std::string_view text) const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static Result<Pattern> compile(std::string_view source, std::string_view pcre2, bool is_literal);
  std::shared_ptr<const Code> code_;
};

}  // namespace sinter::runtime::tokenizer
