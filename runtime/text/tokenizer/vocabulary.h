// Tokens and their ids: compact, because files list hundreds of thousands.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sinter::runtime::tokenizer {

// One more than it, the number of ids, is an int32_t, too.
inline constexpr int32_t kMaxTokenId = std::numeric_limits<int32_t>::max() - 1;

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

// A hash table over a list of texts that is kept elsewhere: where in the list a text is. `text_of`
// gives the text at a place.
class TextIndex {
 public:
  template <class TextOf>
  std::optional<size_t> find(std::string_view text, const TextOf& text_of) const {
    if (slots_.empty()) return std::nullopt;
    const uint32_t slot = slots_[place_of(text, text_of)];
    return slot == 0 ? std::nullopt : std::optional<size_t>(slot - 1);
  }
  // From now on the text at `index` is found there, not where it was before; false if it was.
  template <class TextOf>
  bool put(size_t index, const TextOf& text_of) {
    if (3 * (count_ + 1) > 2 * slots_.size()) grow(text_of);
    uint32_t& slot = slots_[place_of(text_of(index), text_of)];
    const bool is_new = slot == 0;
    slot = static_cast<uint32_t>(index + 1);
    count_ += is_new ? 1 : 0;
    return is_new;
  }

 private:
  template <class TextOf>
  size_t place_of(std::string_view text, const TextOf& text_of) const {
    const size_t mask = slots_.size() - 1;
    size_t place = StringHash{}(text)&mask;
    while (slots_[place] != 0 && text_of(slots_[place] - 1) != text) place = (place + 1) & mask;
    return place;
  }
  template <class TextOf>
  void grow(const TextOf& text_of) {
    constexpr size_t kFirstSlots = 64;
    std::vector<uint32_t> old(slots_.empty() ? kFirstSlots : 2 * slots_.size(), 0);
    old.swap(slots_);
    for (const uint32_t slot : old)
      if (slot != 0) slots_[place_of(text_of(slot - 1), text_of)] = slot;
  }

  std::vector<uint32_t> slots_;  // place + 1; 0 for none. A power of two, a third of it free.
  size_t count_ = 0;
};

// A list of tokens with ids, which finds them by their text. Once nothing is added any more, tokens
// stay where they are, also when the table is moved.
class TokenTable {
 public:
  // False if there is such a token already: it then stands in the list again, and the new id is
  // the one that find() gives. Holds 4 GiB of text at most: the caller sees to it.
  bool add(std::string_view token, int32_t id) {
    bytes_.insert(bytes_.end(), token.begin(), token.end());
    ends_.push_back(static_cast<uint32_t>(bytes_.size()));
    ids_.push_back(id);
    return index_.put(ids_.size() - 1, [this](size_t i) { return this->token(i); });
  }

  std::optional<int32_t> find(std::string_view token) const {
    const auto index = index_.find(token, [this](size_t i) { return this->token(i); });
    return index ? std::optional(ids_[*index]) : std::nullopt;
  }
  size_t size() const { return ids_.size(); }
  std::string_view token(size_t index) const {
    const uint32_t begin = index == 0 ? 0 : ends_[index - 1];
    return {bytes_.data() + begin, ends_[index] - begin};
  }
  int32_t id(size_t index) const { return ids_[index]; }

 private:
  std::vector<char> bytes_;     // the tokens, one after the other
  std::vector<uint32_t> ends_;  // of each token in bytes_
  std::vector<int32_t> ids_;    // of each token
  TextIndex index_;
};

// The ids of the tokens "<0x00>" to "<0xFF>", -1 where there is none.
std::vector<int32_t> byte_token_ids(const TokenTable& vocabulary);

}  // namespace sinter::runtime::tokenizer
