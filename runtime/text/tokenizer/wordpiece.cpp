#include "runtime/text/tokenizer/wordpiece.h"

#include <limits>

#include "runtime/text/tokenizer/utf8.h"
#include "runtime/text/tokenizer/word_model.h"
#include "runtime/text/tokenizer/work_limit.h"

namespace sinter::runtime::tokenizer {
namespace {

std::string text_or(const JsonField& field, const char* otherwise) {
  return field.is_null() ? otherwise : field.string();
}

bool has_more_characters(std::string_view text, size_t limit) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count > limit;
}

}  // namespace

WordPiece WordPiece::read(const JsonField& model, Document document) {
  WordPiece result;
  result.vocabulary_ = *std::move(document.vocab);
  result.unknown_token_ = text_or(model.member("unk_token"), "[UNK]");
  result.unknown_ = result.vocabulary_.find(result.unknown_token_);
  const std::string prefix = text_or(model.member("continuing_subword_prefix"), "##");
  const JsonField most = model.member("max_input_chars_per_word");
  result.max_characters_ =
      most.is_null() ? 100
                     : static_cast<size_t>(most.integer(0, std::numeric_limits<int64_t>::max()));
  std::vector<Trie::Entry> first, continuing;
  for (size_t i = 0; i < result.vocabulary_.size(); ++i) {
    const std::string_view token = result.vocabulary_.token(i);
    first.push_back({token, result.vocabulary_.id(i)});
    if (token.starts_with(prefix))
      continuing.push_back({token.substr(prefix.size()), result.vocabulary_.id(i)});
  }
  result.first_ = Trie(std::move(first));
  result.continuing_ = Trie(std::move(continuing));
  return result;
}

Status WordPiece::encode(std::string_view word, std::vector<int32_t>* ids) const {
  const auto give_up = [&](size_t known) -> Status {
    ids->resize(known);
    if (!unknown_) return missing_unknown(unknown_token_, word);
    ids->push_back(*unknown_);
    return Done{};
  };
  const size_t known = ids->size();
  if (has_more_characters(word, max_characters_)) return give_up(known);
  WorkLimit limit(word.size());
  for (std::string_view rest = word; !rest.empty();) {
    size_t length = 0;
    int32_t id = -1;
    const Trie& trie = rest.size() == word.size() ? first_ : continuing_;
    const size_t work = trie.prefixes_of(rest, [&](size_t piece_length, int32_t piece) {
      length = piece_length;
      id = piece;
    });
    if (!limit.spend(work)) return WorkLimit::error();
    if (length == 0) return give_up(known);
    ids->push_back(id);
    rest.remove_prefix(length);
  }
  return Done{};
}

WordLevel WordLevel::read(const JsonField& model, Document document) {
  WordLevel result;
  result.vocabulary_ = *std::move(document.vocab);
  result.unknown_token_ = text_or(model.member("unk_token"), "<unk>");
  result.unknown_ = result.vocabulary_.find(result.unknown_token_);
  return result;
}

Status WordLevel::encode(std::string_view word, std::vector<int32_t>* ids) const {
  const auto id = vocabulary_.find(word);
  if (!id && !unknown_) return missing_unknown(unknown_token_, word);
  ids->push_back(id ? *id : *unknown_);
  return Done{};
}

}  // namespace sinter::runtime::tokenizer
