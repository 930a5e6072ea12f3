// Patterns of a tokenizer.json, matched by PCRE2 with the meaning that Oniguruma (its default
// syntax, which Hugging Face tokenizers uses) gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime::tokenizer {

struct Span {
  size_t begin;
  size_t end;
  bool is_match;
};

// How much matching one text may cost, over all patterns and all of their matches: backtracking
// takes cubic time and more. Counted in steps of the matcher, not in time, so a text that is
// encoded on one machine is encoded on every other.
class MatchBudget {
 public:
  explicit MatchBudget(size_t text_bytes);
  // For text that came later.
  void add(uint64_t work) { left_ += work; }
  // True, and `work` is taken off, unless less is left.
  bool take(uint64_t work) {
    if (work > left_) left_ = 0;
    if (left_ == 0) return false;
    left_ -= work;
    return true;
  }

 private:
  uint64_t left_;
};

class Pattern {
 public:
  // Refuses what has no translation into PCRE2's syntax, by name.
  static Result<Pattern> regex(std::string_view pattern);
  static Result<Pattern> literal(std::string_view text);

  // Cuts `text` (valid UTF-8, not empty) into matches and what lies between them, in order,
  // covering all of it. Empty matches are included, but not directly after another match. Fails
  // when the budget is spent; without one, there is one for this text alone.
  Result<std::vector<Span>> find_all(std::string_view text, MatchBudget* budget = nullptr) const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace sinter::runtime::tokenizer
