// The Unigram model of a tokenizer.json: the pieces of a word whose scores have the highest sum.
// Models of a tokenizer.model are in runtime/text/tokenizer/sentencepiece.h: their scores are
// float.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/trie.h"
#include "runtime/text/tokenizer/vocabulary.h"

namespace sinter::runtime::tokenizer {

class Unigram {
 public:
  // Reads the `model` object, of which `document` holds the pieces.
  static Unigram read(const JsonField& model, Document document);

  // Appends the ids of `word`. A run of characters that no piece covers becomes its bytes
  // (byte_fallback) or one unknown token. Fails if there is none, and if so many pieces overlap
  // that the search takes long.
  Status encode(std::string_view word, std::vector<int32_t>* ids) const;

  const TokenTable& vocabulary() const { return vocabulary_; }

 private:
  struct Step {  // the best way to a place in the word
    double score = 0;
    int32_t id = -1;      // of its last piece
    uint32_t length = 0;  // of that piece in bytes; 0: nothing leads here
  };
  Status search(std::string_view word, std::vector<Step>* steps) const;
  Status append_unknown(std::string_view run, std::vector<int32_t>* ids) const;

  TokenTable vocabulary_;
  std::vector<double> scores_;  // by id
  Trie trie_;
  std::optional<int32_t> unknown_;
  double unknown_score_ = 0;
  bool byte_fallback_ = false;
  std::vector<int32_t> byte_ids_;
};

}  // namespace sinter::runtime::tokenizer
