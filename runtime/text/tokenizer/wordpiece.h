// Models that look words up: WordPiece (from the left, the longest piece that fits) and WordLevel
// (the word or nothing).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/trie.h"
#include "runtime/text/tokenizer/vocabulary.h"

namespace sinter::runtime::tokenizer {

class WordPiece {
 public:
  // Reads the `model` object, of which `document` holds the vocabulary.
  static WordPiece read(const JsonField& model, Document document);

  // Appends the ids of `word`; of a word that pieces do not cover, or of more characters than the
  // model takes, the unknown token.
  Status encode(std::string_view word, std::vector<int32_t>* ids) const;

  const TokenTable& vocabulary() const { return vocabulary_; }

 private:
  TokenTable vocabulary_;
  Trie first_;       // pieces that begin a word
  Trie continuing_;  // pieces that go on, without their prefix
  std::string unknown_token_;
  std::optional<int32_t> unknown_;
  size_t max_characters_ = 0;
};

class WordLevel {
 public:
  static WordLevel read(const JsonField& model, Document document);
  Status encode(std::string_view word, std::vector<int32_t>* ids) const;
  const TokenTable& vocabulary() const { return vocabulary_; }

 private:
  TokenTable vocabulary_;
  std::string unknown_token_;
  std::optional<int32_t> unknown_;
};

}  // namespace sinter::runtime::tokenizer
