// Token ids to text, one at a time.
#include <fmt/format.h>

#include <utility>

#include "runtime/text/tokenizer/model.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime {

using tokenizer::IdEntry;
using tokenizer::Utf8Unit;

namespace {

// How long the text of some tokens may be: tokens have a few bytes, runs of spaces a hundred.
constexpr size_t kTextBytes = size_t{64} << 20;
constexpr size_t kTextBytesPerToken = 8;

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
  if (entry.added >= 0 || static_cast<size_t>(id) >= model.pieces.size())
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
      run_(std::make_unique<tokenizer::DecoderRun>(model_->decoder.steps)),
      room_(kTextBytes) {}
StreamingDecoder::StreamingDecoder(StreamingDecoder&&) noexcept = default;
StreamingDecoder& StreamingDecoder::operator=(StreamingDecoder&&) noexcept = default;
StreamingDecoder::~StreamingDecoder() = default;

std::string StreamingDecoder::push(int32_t id) {
  const IdEntry* entry = model_->entry_of(id);
  if (ended_) begin();
  if (error_ || entry == nullptr || (skip_special_tokens_ && entry->special)) return {};
  ++ids_;
  room_ += kTextBytesPerToken;
  if (model_->decoder.pieces) return push_piece(id);
  std::string_view token = entry->token;
  if (entry->added >= 0) {
    const auto& added = model_->added[static_cast<size_t>(entry->added)];
    if (!added.normalized_content.empty()) token = added.normalized_content;
  }
  std::string text;
  if (take_room(token.size() * model_->decoder.growth)) run_->push(std::string(token), &text);
  return text;
}

bool StreamingDecoder::take_room(size_t bytes) {
  if (bytes > room_) {
    error_ = Error{
        fmt::format("the text of {} tokens is longer than {} bytes; decode fewer of them at once",
                    ids_, kTextBytes + ids_ * kTextBytesPerToken)};
    return false;
  }
  room_ -= bytes;
  return true;
}

Status StreamingDecoder::status() const {
  if (error_) return *error_;
  if (run_->gave_up())
    return Error{fmt::format(
        "the tokenizer's decoder needs too much work for {} tokens; decode fewer of them at once",
        ids_)};
  return Done{};
}

std::string StreamingDecoder::push_piece(int32_t id) {
  const PieceText piece = text_of_piece(*model_->sentencepiece, id, *model_->entry_of(id));
  if (piece.byte >= 0) {
    pending_.push_back(static_cast<char>(piece.byte));
    return take_bytes(/*all=*/false);
  }
  std::string text = take_bytes(/*all=*/true);
  if (!take_room(piece.text.size())) return text;
  if (!text.empty()) first_ = false;
  const bool strip = first_ && piece.space_prefix;
  text += strip ? piece.text.substr(1) : piece.text;
  if (!text.empty() || (strip && !model_->decoder.strip_all_spaces)) first_ = false;
  return text;
}

std::string StreamingDecoder::flush() {
  std::string text = take_bytes(/*all=*/true);
  run_->flush(&text);
  ended_ = true;
  return text;
}

void StreamingDecoder::begin() {
  run_->reset();
  first_ = true;
  ended_ = false;
  ids_ = 0;
  room_ = kTextBytes;
  error_.reset();
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
