// What turns one word into ids, whatever its kind.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/bpe.h"
#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/unigram.h"
#include "runtime/text/tokenizer/wordpiece.h"

namespace sinter::runtime::tokenizer {

class WordModel {
 public:
  // Reads the `model` object of a tokenizer.json; errors go to the field.
  static WordModel read(const JsonField& model, Document document);

  Status encode(std::string_view word, std::vector<int32_t>* ids) const {
    return std::visit([&](const auto& kind) { return kind.encode(word, ids); }, kind_);
  }
  const TokenTable& vocabulary() const {
    return std::visit([](const auto& kind) -> const TokenTable& { return kind.vocabulary(); },
                      kind_);
  }

 private:
  std::variant<Bpe, Unigram, WordPiece, WordLevel> kind_;
};

// The text needs the unknown token, but model.vocab lacks it.
Error missing_unknown(std::string_view token, std::string_view text);

}  // namespace sinter::runtime::tokenizer
