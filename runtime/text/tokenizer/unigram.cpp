#include "runtime/text/tokenizer/unigram.h"

#include <algorithm>
#include <limits>

#include "runtime/text/tokenizer/utf8.h"
#include "runtime/text/tokenizer/word_model.h"
#include "runtime/text/tokenizer/work_limit.h"

namespace sinter::runtime::tokenizer {
namespace {

// How much worse than the worst piece an unknown character is.
constexpr double kUnknownWordPenalty = 10;

}  // namespace

Unigram Unigram::read(const JsonField& model, Document document) {
  Unigram unigram;
  unigram.vocabulary_ = std::move(document.pieces->pieces);
  unigram.scores_ = std::move(document.pieces->scores);
  unigram.byte_fallback_ = model.member("byte_fallback").boolean(false);
  const JsonField unknown = model.member("unk_id");
  if (!unknown.is_null()) {
    unigram.unknown_ =
        static_cast<int32_t>(unknown.integer(0, static_cast<int64_t>(unigram.scores_.size()) - 1));
  }
  if (model.failed()) return unigram;
  double lowest = std::numeric_limits<double>::infinity();
  for (const double score : unigram.scores_) lowest = std::min(lowest, score);
  unigram.unknown_score_ = lowest - kUnknownWordPenalty;
  std::vector<Trie::Entry> entries;
  entries.reserve(unigram.vocabulary_.size());
  for (size_t i = 0; i < unigram.vocabulary_.size(); ++i) {
    const std::string_view piece = unigram.vocabulary_.token(i);
    const int32_t id = unigram.vocabulary_.id(i);
    if (unigram.vocabulary_.find(piece) == id) entries.push_back({piece, id});
  }
  unigram.trie_ = Trie(std::move(entries));
  if (unigram.byte_fallback_) unigram.byte_ids_ = byte_token_ids(unigram.vocabulary_);
  return unigram;
}

// Fills in steps[end] for every place that a piece can end at. Of equal sums the one found first
// wins, as in SentencePiece: that of the longest last piece.
Status Unigram::search(std::string_view word, std::vector<Step>* steps) const {
  WorkLimit limit(word.size());
  steps->resize(word.size() + 1);
  size_t character = 0;
  for (size_t begin = 0; begin < word.size(); begin += character) {
    character = next_utf8(word.substr(begin)).length;
    const double so_far = (*steps)[begin].score;
    const auto consider = [&](size_t length, int32_t id, double score) {
      Step& step = (*steps)[begin + length];
      if (step.length == 0 || score > step.score) step = {score, id, static_cast<uint32_t>(length)};
    };
    bool has_character = false;
    const size_t work = trie_.prefixes_of(word.substr(begin), [&](size_t length, int32_t id) {
      consider(length, id, scores_[static_cast<size_t>(id)] + so_far);
      has_character |= length == character;
    });
    if (!limit.spend(work)) return WorkLimit::error();
    if (!has_character) consider(character, unknown_.value_or(-1), unknown_score_ + so_far);
  }
  return Done{};
}

// What is unknown piece by piece may be a piece, or bytes, as a whole.
Status Unigram::append_unknown(std::string_view run, std::vector<int32_t>* ids) const {
  if (const auto id = vocabulary_.find(run)) {
    ids->push_back(*id);
    return Done{};
  }
  const auto byte_id = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
  if (byte_fallback_ &&
      std::all_of(run.begin(), run.end(), [&](char c) { return byte_id(c) >= 0; })) {
    for (const char c : run) ids->push_back(byte_id(c));
    return Done{};
  }
  if (!unknown_) return missing_unknown("unk_id", run);
  ids->push_back(*unknown_);
  return Done{};
}

Status Unigram::encode(std::string_view word, std::vector<int32_t>* ids) const {
  std::vector<Step> steps;
  if (Status status = search(word, &steps); !status.ok()) return status;
  struct Piece {
    size_t begin, end;
    int32_t id;
  };
  std::vector<Piece> pieces;
  for (size_t end = word.size(); end > 0; end = pieces.back().begin)
    pieces.push_back({end - steps[end].length, end, steps[end].id});
  std::reverse(pieces.begin(), pieces.end());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto is_unknown = [&](size_t at) { return pieces[at].id == unknown_.value_or(-1); };
    if (!is_unknown(i)) {
      ids->push_back(pieces[i].id);
      continue;
    }
    const size_t begin = pieces[i].begin;
    while (i + 1 < pieces.size() && is_unknown(i + 1)) ++i;
    if (Status status = append_unknown(word.substr(begin, pieces[i].end - begin), ids);
        !status.ok())
      return status;
  }
  return Done{};
}

}  // namespace sinter::runtime::tokenizer
