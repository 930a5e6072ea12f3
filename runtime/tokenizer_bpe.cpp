#include "runtime/tokenizer_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "runtime/tokenizer_utf8.h"

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

Bpe Bpe::read(const JsonField& model, Document document) {
  Bpe bpe;
  const std::string type = model.member("type").is_null() ? "BPE" : model.member("type").string();
  if (type != "BPE") {
    model.member("type").fail(
        fmt::format("is '{}', which is not supported (supported: BPE)", type));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const JsonField field = model.member(affix);
    if (!field.is_null() && !field.string().empty()) field.fail("is not supported; expected null");
  }
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
  // Where they were not of the right type, they are in the tree.
  if (!document.vocab) (void)model.member("vocab").object();
  if (!document.merges) (void)model.member("merges").array();
  if (model.failed()) return bpe;
  bpe.read_vocabulary(model.member("vocab"), std::move(*document.vocab));
  bpe.read_merges(model.member("merges"), *document.merges);
  const JsonField unknown = model.member("unk_token");
  if (!unknown.is_null() && !model.failed()) {
    bpe.unknown_ = bpe.find(unknown.string());
    if (!bpe.unknown_) {
      unknown.fail(fmt::format("'{}' is not in model.vocab", unknown.string()));
    }
  }
  return bpe;
}

void Bpe::read_vocabulary(const JsonField& field,
                          std::vector<std::pair<std::string, int32_t>> tokens) {
  if (tokens.empty()) return field.fail("is empty");
  vocabulary_.reserve(tokens.size());
  std::vector<std::pair<int32_t, const std::string*>> by_id;
  by_id.reserve(tokens.size());
  for (auto& [token, id] : tokens) {
    const auto [entry, is_new] = vocabulary_.emplace(std::move(token), id);
    if (!is_new) return field.fail(fmt::format("lists token '{}' twice", entry->first));
    by_id.emplace_back(id, &entry->first);
  }
  std::sort(by_id.begin(), by_id.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : *a.second < *b.second;
  });
  for (size_t i = 1; i < by_id.size(); ++i) {
    if (by_id[i].first == by_id[i - 1].first) {
      return field.fail(fmt::format("gives id {} to both '{}' and '{}'", by_id[i].first,
                                    *by_id[i - 1].second, *by_id[i].second));
    }
  }
}

void Bpe::read_merges(const JsonField& field,
                      const std::vector<std::pair<std::string, std::string>>& merges) {
  if (field.failed()) return;
  merges_.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    joined = left;
    joined += right;
    int32_t ids[3];
    for (size_t part = 0; part < 3; ++part) {
      const std::string& token = part == 0 ? left : part == 1 ? right : joined;
      const auto id = find(token);
      if (!id) {
        return field.fail(
            fmt::format("has '{}' + '{}' at {}, which needs token '{}', but model.vocab does not "
                        "have it",
                        left, right, i, token));
      }
      ids[part] = *id;
    }
    merges_[pair_key(ids[0], ids[1])] = {static_cast<int32_t>(i), ids[2]};
  }
}

std::optional<int32_t> Bpe::find(std::string_view token) const {
  const auto found = vocabulary_.find(token);
  if (found == vocabulary_.end()) return std::nullopt;
  return found->second;
}

std::vector<int32_t> Bpe::initial_symbols(std::string_view word) const {
  std::vector<int32_t> ids;
  ids.reserve(word.size());
  bool pending_unknown = false;
  while (!word.empty()) {
    const std::string_view character = word.substr(0, next_utf8(word).length);
    word.remove_prefix(character.size());
    if (const auto id = find(character)) {
      if (pending_unknown) ids.push_back(*unknown_);
      pending_unknown = false;
      ids.push_back(*id);
      continue;
    }
    if (byte_fallback_) {
      std::vector<int32_t> bytes;
      for (const char c : character) {
        const auto id = find(fmt::format("<0x{:02X}>", static_cast<uint8_t>(c)));
        if (id) bytes.push_back(*id);
      }
      if (bytes.size() == character.size()) {
        ids.insert(ids.end(), bytes.begin(), bytes.end());
        continue;
      }
    }
    if (unknown_) {
      if (pending_unknown && !fuse_unknown_) ids.push_back(*unknown_);
      pending_unknown = true;
    }
  }
  if (pending_unknown) ids.push_back(*unknown_);
  return ids;
}

void Bpe::encode(std::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const auto id = find(word)) {
      ids->push_back(*id);
      return;
    }
  }
  const std::vector<int32_t> initial = initial_symbols(word);
  const auto count = static_cast<int32_t>(initial.size());
  std::vector<Symbol> symbols(initial.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i] = {initial[i], i - 1, i + 1 < count ? i + 1 : -1};
  }
  const auto find_merge = [&](int32_t position) -> const Merge* {
    const Symbol& left = symbols[position];
    if (left.next < 0) return nullptr;
    const auto found = merges_.find(pair_key(left.id, symbols[left.next].id));
    return found == merges_.end() ? nullptr : &found->second;
  };

  std::vector<Candidate> storage;
  storage.reserve(initial.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue({},
                                                                               std::move(storage));
  const auto consider = [&](int32_t position) {
    if (const Merge* merge = find_merge(position)) queue.push({merge->rank, position, merge->id});
  };
  for (int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    Symbol& left = symbols[candidate.position];
    if (left.id < 0) continue;
    // The pair may have changed since; it still counts if it joins to the same token.
    const Merge* merge = find_merge(candidate.position);
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
}

}  // namespace sinter::runtime::tokenizer
