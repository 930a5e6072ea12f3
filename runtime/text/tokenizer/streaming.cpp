// Token ids to text, one at a time.
#include <utility>

#include "runtime/text/tokenizer/model.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime {

using tokenizer::IdEntry;
using tokenizer::Utf8Unit;

namespace {

// What a piece of a SentencePiece model decodes to.
struct PieceText {
  std::string text;
  int byte = -1;              // the byte that it is
  bool space_prefix = false;  // at the start of a text the first space goes
};

PieceText text_of_piece(const tokenizer::SentencePiece& sentencepiece, int32_t id,
                        const IdEntry& entry) {
  using PieceType = tokenizer::SentencePieceModel::PieceType;
  const tokenizer::SentencePieceModel& model = sentencepiece.model();
  // Added tokens keep their text.
  if (entry.added != nullptr || static_cast<size_t>(id) >= model.pieces.size())
    return {.text = std::string(entry.token)};
  switch (model.pieces[static_cast<size_t>(id)].type) {
    case PieceType::kControl:
      return {};
    case PieceType::kUnknown:
      return {.text = model.unknown_surface};
    case PieceType::kByte:
      return {.text = {}, .byte = tokenizer::fallback_byte(entry.token)};
    default:
      break;
  }
  PieceText piece;
  std::string_view rest = entry.token;
  piece.space_prefix = rest.starts_with(tokenizer::kSpaceSymbol) &&
                       (model.add_dummy_prefix || model.remove_extra_whitespaces);
  std::string text;
  while (!rest.empty()) {
    const bool space = rest.starts_with(tokenizer::kSpaceSymbol);
    text.push_back(space ? ' ' : rest.front());
    rest.remove_prefix(space ? tokenizer::kSpaceSymbol.size() : 1);
  }
  piece.text = tokenizer::replace_invalid_utf8(text);
  return piece;
}

}  // namespace

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : model_(tokenizer.model_),
      skip_special_tokens_(skip_special_tokens),
      run_(std::make_unique<tokenizer::DecoderRun>(model_->decoder.steps)) {}
StreamingDecoder::StreamingDecoder(StreamingDecoder&&) noexcept = default;
StreamingDecoder& StreamingDecoder::operator=(StreamingDecoder&&) noexcept = default;
StreamingDecoder::~StreamingDecoder() = default;

std::string StreamingDecoder::push(int32_t id) {
  const IdEntry* entry = model_->entry_of(id);
  if (entry == nullptr || (skip_special_tokens_ && entry->special)) return {};
  if (model_->decoder.pieces) return push_piece(id);
  std::string text;
  const bool as_normalized = entry->added != nullptr && !entry->added->normalized_content.empty();
  run_->push(as_normalized ? entry->added->normalized_content : std::string(entry->token), &text);
  return text;
}

std::string StreamingDecoder::push_piece(int32_t id) {
  const PieceText piece = text_of_piece(*model_->sentencepiece, id, *model_->entry_of(id));
  if (piece.byte >= 0) {
    pending_.push_back(static_cast<char>(piece.byte));
    return take_bytes(/*all=*/false);
  }
  std::string text = take_bytes(/*all=*/true);
  if (!text.empty()) first_ = false;
  const bool strip = first_ && piece.space_prefix;
  text += strip ? piece.text.substr(1) : piece.text;
  if (!text.empty() || (strip && !model_->decoder.strip_all_spaces)) first_ = false;
  return text;
}

std::string StreamingDecoder::flush() {
  std::string text = take_bytes(/*all=*/true);
  run_->flush(&text);
  first_ = true;
  return text;
}

// The characters of the pending bytes; a byte that is of none becomes U+FFFD. Unless `all`, those
// that may be the start of a character stay.
std::string StreamingDecoder::take_bytes(bool all) {
  std::string_view rest = pending_;
  std::string text;
  while (!rest.empty()) {
    const Utf8Unit unit = tokenizer::next_utf8(rest);
    if (unit.kind == Utf8Unit::Kind::kIncomplete && !all) break;
    const bool valid = unit.kind == Utf8Unit::Kind::kValid;
    text += valid ? rest.substr(0, unit.length) : tokenizer::kReplacementCharacter;
    rest.remove_prefix(valid ? unit.length : 1);
  }
  pending_ = std::string(rest);
  if (!text.empty()) first_ = false;
  return text;
}

}  // namespace sinter::runtime
