#include "runtime/text/tokenizer/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <unordered_map>
#include <utility>

#include "runtime/text/tokenizer/decoder.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using PieceType = SentencePieceModel::PieceType;

// How much worse than the worst piece an unknown character is.
constexpr float kUnknownPenalty = 10;

// Steps of a MatchBudget: for a byte of a text that is looked up among the pieces, and how many
// bytes are hashed in that time.
constexpr uint64_t kStepWork = 16;
constexpr size_t kHashedPerStep = 16;

// Of the character that `text` begins with; a byte that begins none counts by itself.
size_t character_length(std::string_view text) {
  const Utf8Unit unit = next_utf8(text);
  return unit.kind == Utf8Unit::Kind::kValid ? unit.length : 1;
}

// A candidate merge of two neighbouring symbols. It is stale if their length has changed.
struct Candidate {
  float score;
  int32_t left, right;
  size_t length;
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

struct Symbol {
  std::string_view text;  // empty once it was merged into its left neighbour
  int32_t previous, next;
  bool frozen;  // user defined: never merged
};

}  // namespace

void PieceIndex::finish() {
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.piece < b.piece; });
}

template <class Found>
size_t PieceIndex::prefixes_of(std::string_view text, Found found) const {
  auto begin = entries_.begin(), end = entries_.end();
  for (size_t length = 1; length <= text.size(); ++length) {
    const auto byte = static_cast<uint8_t>(text[length - 1]);
    // All of [begin, end) agree with the text so far, and none is shorter than `length`.
    const auto byte_of = [length](const Entry& entry) {
      return static_cast<uint8_t>(entry.piece[length - 1]);
    };
    begin = std::partition_point(begin, end, [&](const Entry& e) { return byte_of(e) < byte; });
    end = std::partition_point(begin, end, [&](const Entry& e) { return byte_of(e) == byte; });
    if (begin == end) return length;
    if (begin->piece.size() == length) {
      found(length, begin->id);
      ++begin;
    }
  }
  return text.size();
}

size_t PieceIndex::longest_prefix(std::string_view text, uint64_t* steps) const {
  size_t longest = 0;
  *steps += prefixes_of(text, [&](size_t length, int32_t) { longest = length; });
  return longest;
}

Result<SentencePiece> SentencePiece::create(SentencePieceModel model) {
  SentencePiece result;
  if (!model.charsmap.empty()) {
    auto charsmap = Charsmap::parse(model.charsmap);
    if (!charsmap.ok()) return charsmap.error();
    result.charsmap_ = *std::move(charsmap);
    model.charsmap.clear();
  }
  result.model_ = std::make_unique<const SentencePieceModel>(std::move(model));
  const auto& pieces = result.model_->pieces;
  if (pieces.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    return Error{fmt::format("the model has {} pieces", pieces.size())};
  result.byte_ids_.assign(256, -1);
  // The library starts the highest score there, so it is positive even when all scores are not.
  float lowest = std::numeric_limits<float>::max(), highest = std::numeric_limits<float>::min();
  std::optional<int32_t> unknown;
  result.text_pieces_.reserve(pieces.size());
  result.user_defined_.reserve(
      static_cast<size_t>(std::count_if(pieces.begin(), pieces.end(), [](const auto& piece) {
        return piece.type == PieceType::kUserDefined;
      })));
  // Of pieces with the same text the last counts.
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].text.empty()) return Error{fmt::format("piece {} is empty", i)};
    if (!std::isfinite(pieces[i].score))
      return Error{fmt::format("piece {} has the score {}", i, pieces[i].score)};
    result.ids_.put(i, result.text_of());
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto& piece = pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (result.find(piece.text) != id) continue;
    switch (piece.type) {
      case PieceType::kNormal:
        lowest = std::min(lowest, piece.score);
        highest = std::max(highest, piece.score);
        [[fallthrough]];
      case PieceType::kUnused:
        result.text_pieces_.add(piece.text, id);
        break;
      case PieceType::kUserDefined:
        result.text_pieces_.add(piece.text, id);
        result.user_defined_.add(piece.text, id);
        break;
      case PieceType::kUnknown:
        if (unknown)
          return Error{fmt::format("pieces {} and {} are both the unknown one", *unknown, i)};
        unknown = id;
        break;
      case PieceType::kByte: {
        const int byte = fallback_byte(piece.text);
        if (byte < 0) return Error{fmt::format("piece {} is '{}', not a byte", i, piece.text)};
        result.byte_ids_[static_cast<size_t>(byte)] = id;
        break;
      }
      case PieceType::kControl:
        break;
    }
  }
  if (!unknown) return Error{"no piece is the unknown one"};
  if (result.model_->byte_fallback) {
    const auto missing = std::find(result.byte_ids_.begin(), result.byte_ids_.end(), -1);
    if (missing != result.byte_ids_.end())
      return Error{fmt::format("byte_fallback is set, but piece '<0x{:02X}>' is missing",
                               missing - result.byte_ids_.begin())};
  }
  result.unknown_id_ = *unknown;
  result.unknown_score_ = lowest - kUnknownPenalty;
  result.highest_score_ = highest;
  result.text_pieces_.finish();
  result.user_defined_.finish();
  return result;
}

std::string SentencePiece::normalize(std::string_view text, bool dummy_prefix,
                                     uint64_t* steps) const {
  std::string out;
  const bool remove_extra = model_->remove_extra_whitespaces;
  const std::string_view space = model_->escape_whitespaces ? kSpaceSymbol : " ";
  // What the text begins with, normalized, and how many bytes that were.
  const auto next_unit = [&](std::string_view rest) -> std::pair<std::string_view, size_t> {
    if (const size_t length = user_defined_.longest_prefix(rest, steps); length > 0)
      return {rest.substr(0, length), length};
    if (charsmap_) {
      const Charsmap::Match match = charsmap_->longest_match(rest);
      if (match.length > 0) return {match.replacement, match.length};
    }
    const Utf8Unit unit = next_utf8(rest);
    if (unit.kind != Utf8Unit::Kind::kValid) return {kReplacementCharacter, 1};
    return {rest.substr(0, unit.length), unit.length};
  };
  while (remove_extra && !text.empty()) {
    const auto [unit, length] = next_unit(text);
    if (unit != " ") break;
    text.remove_prefix(length);
  }
  if (text.empty()) return out;
  if (dummy_prefix && model_->add_dummy_prefix) out += space;
  bool after_space = remove_extra;
  while (!text.empty()) {
    auto [unit, length] = next_unit(text);
    text.remove_prefix(length);
    while (after_space && unit.starts_with(' ')) unit.remove_prefix(1);
    if (!unit.empty()) {
      for (const char c : unit) {
        if (c == ' ') {
          out += space;
        } else {
          out.push_back(c);
        }
      }
      after_space = unit.ends_with(' ');
    }
    if (!remove_extra) after_space = false;
  }
  while (remove_extra && out.ends_with(space)) out.erase(out.size() - space.size());
  return out;
}

std::optional<int32_t> SentencePiece::find(std::string_view piece) const {
  const auto id = ids_.find(piece, text_of());
  return id ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}

int32_t SentencePiece::id_of(std::string_view piece) const {
  return find(piece).value_or(unknown_id_);
}

std::optional<std::vector<SentencePiece::Part>> SentencePiece::encode_bpe(
    std::string_view text, MatchBudget* budget) const {
  std::vector<Symbol> symbols;
  uint64_t steps = 0;
  while (!text.empty()) {
    const size_t user_defined = user_defined_.longest_prefix(text, &steps);
    const size_t length = user_defined > 0 ? user_defined : character_length(text);
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({text.substr(0, length), index - 1, index + 1, user_defined > 0});
    text.remove_prefix(length);
    if (!budget->take(kStepWork * std::exchange(steps, 0))) return std::nullopt;
  }
  if (symbols.empty()) return std::vector<Part>();
  symbols.back().next = -1;

  const auto can_merge = [&](int32_t id) {
    const PieceType type = model_->pieces[static_cast<size_t>(id)].type;
    return type == PieceType::kNormal || type == PieceType::kUserDefined ||
           type == PieceType::kUnused;
  };
  const auto join = [](const Symbol& left, const Symbol& right) {
    return std::string_view(left.text.data(), left.text.size() + right.text.size());
  };
  // How an unused piece was made: it serves on the way to longer ones, and is taken apart if it is
  // what remains.
  std::unordered_map<std::string_view, size_t> left_lengths;
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0 || symbols[left].frozen || symbols[right].frozen) return;
    const std::string_view joined = join(symbols[left], symbols[right]);
    steps += joined.size() / kHashedPerStep + 1;
    const auto found = find(joined);
    if (!found || !can_merge(*found)) return;
    const auto& piece = model_->pieces[static_cast<size_t>(*found)];
    queue.push({piece.score, left, right, joined.size()});
    if (piece.type == PieceType::kUnused) left_lengths[joined] = symbols[left].text.size();
  };
  for (int32_t i = 1; i < static_cast<int32_t>(symbols.size()); ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.left];
    Symbol& right = symbols[top.right];
    if (left.text.empty() || right.text.empty() ||
        left.text.size() + right.text.size() != top.length)
      continue;
    left.text = join(left, right);
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = top.left;
    right.text = {};
    consider(left.previous, top.left);
    consider(top.left, left.next);
    if (!budget->take(kStepWork * std::exchange(steps, 0))) return std::nullopt;
  }

  std::vector<Part> parts;
  std::vector<std::string_view> pending;
  for (int32_t i = 0; i >= 0; i = symbols[i].next) {
    pending.push_back(symbols[i].text);
    while (!pending.empty()) {
      const std::string_view piece = pending.back();
      pending.pop_back();
      const int32_t id = id_of(piece);
      const auto left = left_lengths.find(piece);
      if (left == left_lengths.end() ||
          model_->pieces[static_cast<size_t>(id)].type != PieceType::kUnused) {
        parts.push_back({piece, id});
        continue;
      }
      pending.push_back(piece.substr(left->second));
      pending.push_back(piece.substr(0, left->second));
    }
  }
  return parts;
}

std::optional<std::vector<SentencePiece::Part>> SentencePiece::encode_unigram(
    std::string_view text, MatchBudget* budget) const {
  // The best way to each position: its score and its last piece. Scores are float and sums are
  // compared as the library does, because ties decide.
  struct Node {
    float score = 0;
    int32_t id = -1;
    size_t begin = std::string_view::npos;
  };
  std::vector<Node> nodes(text.size() + 1);
  for (size_t begin = 0; begin < text.size();) {
    const size_t character = character_length(text.substr(begin));
    const float so_far = nodes[begin].score;
    bool has_character = false;
    const uint64_t steps =
        text_pieces_.prefixes_of(text.substr(begin), [&](size_t length, int32_t id) {
          const auto& piece = model_->pieces[static_cast<size_t>(id)];
          if (piece.type == PieceType::kUnused) return;
          // A user-defined piece always wins.
          const float score =
              piece.type == PieceType::kUserDefined
                  ? static_cast<float>(static_cast<float>(length) * highest_score_ - 0.1)
                  : piece.score;
          const float sum = score + so_far;
          Node& node = nodes[begin + length];
          if (node.begin == std::string_view::npos || sum > node.score) node = {sum, id, begin};
          has_character |= length == character;
        });
    if (!budget->take(kStepWork * steps)) return std::nullopt;
    if (!has_character) {
      Node& node = nodes[begin + character];
      const float sum = unknown_score_ + so_far;
      if (node.begin == std::string_view::npos || sum > node.score)
        node = {sum, unknown_id_, begin};
    }
    begin += character;
  }
  std::vector<Part> parts;
  for (size_t end = text.size(); end > 0; end = nodes[end].begin)
    parts.push_back({text.substr(nodes[end].begin, end - nodes[end].begin), nodes[end].id});
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Status SentencePiece::encode(std::string_view text, bool dummy_prefix, MatchBudget* budget,
                             std::vector<int32_t>* ids) const {
  uint64_t steps = 0;
  const std::string normalized = normalize(text, dummy_prefix, &steps);
  const bool is_bpe = model_->algorithm == SentencePieceModel::Algorithm::kBpe;
  std::optional<std::vector<Part>> parts;
  if (budget->take(kStepWork * steps))
    parts = is_bpe ? encode_bpe(normalized, budget) : encode_unigram(normalized, budget);
  if (!parts) {
    return Error{fmt::format(
        "the tokenizer's pieces begin too often in {} bytes of text; split the text", text.size())};
  }
  bool after_unknown = false;
  for (const Part& part : *parts) {
    const bool unknown = part.id == unknown_id_;
    if (unknown && model_->byte_fallback) {
      for (const char c : part.text) ids->push_back(byte_ids_[static_cast<uint8_t>(c)]);
    } else if (!unknown || !after_unknown) {  // a run of unknown characters is one token
      ids->push_back(part.id);
    }
    after_unknown = unknown;
  }
  return Done{};
}

}  // namespace sinter::runtime::tokenizer
