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

// A list of tokens with ids, and a hash table over it. Once nothing is added any more, tokens stay
// where they are, also when the table is moved.
class TokenTable {
 public:
  // False if there is such a token already: it then stands in the list again, and the new id is
  // the one that find() gives. Holds 4 GiB of text at most: the caller sees to it.
  bool add(std::string_view token, int32_t id);

  std::optional<int32_t> find(std::string_view token) const;
  size_t size() const { return ids_.size(); }
  std::string_view token(size_t index) const {
    const uint32_t begin = index == 0 ? 0 : ends_[index - 1];
    return {bytes_.data() + begin, ends_[index] - begin};
  }
  int32_t id(size_t index) const { return ids_[index]; }

 private:
  uint32_t* slot_of(std::string_view token);
  void grow();

  std::vector<char> bytes_;      // the tokens, one after the other
  std::vector<uint32_t> ends_;   // of each token in bytes_
  std::vector<int32_t> ids_;     // of each token
  std::vector<uint32_t> slots_;  // index + 1; 0 for none. A power of two, a third of it free.
};

// The ids of the tokens "<0x00>" to "<0xFF>", -1 where there is none.
std::vector<int32_t> byte_token_ids(const TokenTable& vocabulary);

}  // namespace sinter::runtime::tokenizer
