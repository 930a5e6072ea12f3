#include "runtime/text/tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <queue>

#include "runtime/text/tokenizer/utf8.h"
#include "runtime/text/tokenizer/word_model.h"

namespace sinter::runtime::tokenizer {
namespace {

// A candidate merge of the symbol at `position` with the next one. It may be stale when popped.
struct Candidate {
  int32_t rank;
  int32_t position;
  int32_t id;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

struct Symbol {
  int32_t id;  // -1 once merged into its left neighbour
  int32_t previous;
  int32_t next;  // -1 at the end
};

}  // namespace

void MergeTable::reserve(size_t merges) {
  slots_.assign(std::bit_ceil(merges + merges / 3 + 2), Slot());
  shift_ = 64 - std::countr_zero(slots_.size());
}

size_t MergeTable::place_of(int32_t left, int32_t right) const {
  const uint64_t pair =
      (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  // Fibonacci hashing: the highest bits depend on all of both halves.
  size_t place = static_cast<size_t>((pair * 0x9E3779B97F4A7C15ull) >> shift_);
  while (slots_[place].merge.id >= 0 &&
         (slots_[place].left != left || slots_[place].right != right))
    place = (place + 1) & (slots_.size() - 1);
  return place;
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  slots_[place_of(left, right)] = {left, right, merge};
}

Bpe Bpe::read(const JsonField& model, Document document) {
  Bpe bpe;
  const auto text_of = [&](const char* name) {
    const JsonField field = model.member(name);
    return field.is_null() ? std::string() : field.string();
  };
  bpe.continuing_prefix_ = text_of("continuing_subword_prefix");
  bpe.end_suffix_ = text_of("end_of_word_suffix");
  // Dropout makes encoding random: a training device. Writers put null or 0 for none.
  const JsonField dropout = model.member("dropout");
  if (!dropout.is_null()) {
    const Json& value = *dropout.value();
    if (!value.is_number() || value.get<double>() != 0.0)
      dropout.fail("is not supported; set null");
  }
  bpe.ignore_merges_ = model.member("ignore_merges").boolean(false);
  bpe.byte_fallback_ = model.member("byte_fallback").boolean(false);
  bpe.fuse_unknown_ = model.member("fuse_unk").boolean(false);
  // Where it was not of the right type, it is in the tree.
  if (!document.merges) (void)model.member("merges").array();
  if (model.failed()) return bpe;
  bpe.vocabulary_ = *std::move(document.vocab);
  bpe.read_merges(model.member("merges"), *document.merges);
  const JsonField unknown = model.member("unk_token");
  if (!unknown.is_null() && !model.failed()) {
    bpe.unknown_token_ = unknown.string();
    bpe.unknown_ = bpe.vocabulary_.find(*bpe.unknown_token_);
  }
  if (bpe.byte_fallback_) bpe.byte_ids_ = byte_token_ids(bpe.vocabulary_);
  return bpe;
}

void Bpe::read_merges(const JsonField& field, const MergeList& merges) {
  if (merges.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    return field.fail("has too many entries");
  merges_.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view left = merges.part(2 * i), right = merges.part(2 * i + 1);
    if (right.size() < continuing_prefix_.size()) {
      return field.fail(
          fmt::format("has '{}' + '{}' at {}, where the second part is shorter than "
                      "continuing_subword_prefix '{}'",
                      left, right, i, continuing_prefix_));
    }
    joined = left;
    joined += right.substr(continuing_prefix_.size());
    int32_t ids[3];
    for (size_t part = 0; part < 3; ++part) {
      const std::string_view token = part == 0 ? left : part == 1 ? right : joined;
      const auto id = vocabulary_.find(token);
      if (!id) {
        return field.fail(
            fmt::format("has '{}' + '{}' at {}, which needs token '{}', but model.vocab does not "
                        "have it",
                        left, right, i, token));
      }
      ids[part] = *id;
    }
    merges_.set(ids[0], ids[1], {static_cast<int32_t>(i), ids[2]});
  }
}

Status Bpe::initial_symbols(std::string_view word, std::vector<int32_t>* ids) const {
  ids->reserve(word.size());
  bool pending_unknown = false;
  std::string decorated;
  for (bool is_first = true; !word.empty(); is_first = false) {
    std::string_view character = word.substr(0, next_utf8(word).length);
    word.remove_prefix(character.size());
    if ((!is_first && !continuing_prefix_.empty()) || (word.empty() && !end_suffix_.empty())) {
      decorated = is_first ? "" : continuing_prefix_;
      decorated += character;
      if (word.empty()) decorated += end_suffix_;
      character = decorated;
    }
    if (const auto id = vocabulary_.find(character)) {
      if (pending_unknown) ids->push_back(*unknown_);
      pending_unknown = false;
      ids->push_back(*id);
      continue;
    }
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
    if (byte_fallback_ &&
        std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : character) ids->push_back(byte_id(c));
      continue;
    }
    if (!unknown_token_) continue;
    if (!unknown_) return missing_unknown(*unknown_token_, character);
    if (pending_unknown && !fuse_unknown_) ids->push_back(*unknown_);
    pending_unknown = true;
  }
  if (pending_unknown) ids->push_back(*unknown_);
  return Done{};
}

Status Bpe::encode(std::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const auto id = vocabulary_.find(word)) {
      ids->push_back(*id);
      return Done{};
    }
  }
  std::vector<int32_t> initial;
  if (Status status = initial_symbols(word, &initial); !status.ok()) return status;
  const auto count = static_cast<int32_t>(initial.size());
  std::vector<Symbol> symbols(initial.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i] = {initial[i], i - 1, i + 1 < count ? i + 1 : -1};
  }
  const auto find_merge = [&](int32_t position) -> const MergeTable::Merge* {
    const Symbol& left = symbols[position];
    return left.next < 0 ? nullptr : merges_.find(left.id, symbols[left.next].id);
  };

  std::vector<Candidate> storage;
  storage.reserve(initial.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue({},
                                                                               std::move(storage));
  const auto consider = [&](int32_t position) {
    if (const auto* merge = find_merge(position)) queue.push({merge->rank, position, merge->id});
  };
  for (int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    Symbol& left = symbols[candidate.position];
    if (left.id < 0) continue;
    // The pair may have changed since; it still counts if it joins to the same token.
    const auto* merge = find_merge(candidate.position);
    if (merge == nullptr || merge->id != candidate.id) continue;
    Symbol& right = symbols[left.next];
    left.id = candidate.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = candidate.position;
    if (left.previous >= 0) consider(left.previous);
    consider(candidate.position);
  }
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[i].next) ids->push_back(symbols[i].id);
  return Done{};
}

}  // namespace sinter::runtime::tokenizer
