#include "runtime/text/tokenizer/word_model.h"

#include <fmt/format.h>

#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr size_t kMaxQuoted = 32;  // bytes of a text that a message quotes

// Old files have no type.
std::string type_of(const JsonField& model, const Document& document) {
  const JsonField type = model.member("type");
  if (!type.is_null()) return type.string();
  if (document.pieces) return "Unigram";
  if (document.merges || model.member("unk_token").is_null()) return "BPE";
  return model.member("max_input_chars_per_word").is_null() ? "WordLevel" : "WordPiece";
}

}  // namespace

WordModel WordModel::read(const JsonField& model, Document document) {
  WordModel result;
  const std::string type = type_of(model, document);
  if (model.failed()) return result;
  const JsonField vocab = model.member("vocab");
  if (type == "Unigram") {
    if (document.vocab) vocab.fail("is an object, expected an array of [\"token\", score]");
    if (!document.pieces) (void)vocab.array();
    if (!model.failed()) result.kind_ = Unigram::read(model, std::move(document));
    return result;
  }
  if (type != "BPE" && type != "WordPiece" && type != "WordLevel") {
    model.member("type").fail(
        fmt::format("is '{}', which is not supported (supported: BPE, Unigram, WordPiece, "
                    "WordLevel)",
                    type));
    return result;
  }
  if (document.pieces) vocab.fail("is an array, expected an object");
  if (!document.vocab) (void)vocab.object();
  if (model.failed()) return result;
  if (document.vocab->size() == 0) {
    vocab.fail("is empty");
    return result;
  }
  if (type == "BPE") {
    result.kind_ = Bpe::read(model, std::move(document));
  } else if (type == "WordPiece") {
    result.kind_ = WordPiece::read(model, std::move(document));
  } else {
    result.kind_ = WordLevel::read(model, std::move(document));
  }
  return result;
}

Error missing_unknown(std::string_view token, std::string_view text) {
  std::string quoted(text.substr(0, kMaxQuoted));
  while (!is_valid_utf8(quoted)) quoted.pop_back();
  return Error{
      fmt::format("the text has '{}', which is not in model.vocab, nor is the unknown token "
                  "({})",
                  quoted, token)};
}

}  // namespace sinter::runtime::tokenizer
