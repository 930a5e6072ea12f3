// Byte pair encoding of one word: vocabulary, merges, and the merge loop.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/tokenizer_json.h"

namespace sinter::runtime::tokenizer {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

class Bpe {
 public:
  // Reads the `model` object, of which `document` holds the vocabulary and the merges. Every merge
  // must join two tokens into a third; ids must be distinct.
  static Bpe read(const JsonField& model, Document document);

  // Appends the ids of `word`, in O(n log n). A character that is not in the vocabulary becomes its
  // bytes (byte_fallback), the unknown token, or nothing, as the model says.
  void encode(std::string_view word, std::vector<int32_t>* ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<int32_t> find(std::string_view token) const;

 private:
  struct Merge {
    int32_t rank;  // lower merges first
    int32_t id;    // of the joined token
  };
  struct PairHash {
    size_t operator()(uint64_t pair) const {
      // Fibonacci hashing: both halves reach the bits that choose the bucket.
      return static_cast<size_t>((pair * 0x9E3779B97F4A7C15ull) >> 20);
    }
  };
  static uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  void read_vocabulary(const JsonField& field, std::vector<std::pair<std::string, int32_t>> tokens);
  void read_merges(const JsonField& field,
                   const std::vector<std::pair<std::string, std::string>>& merges);
  std::vector<int32_t> initial_symbols(std::string_view word) const;

  Vocabulary vocabulary_;
  std::unordered_map<uint64_t, Merge, PairHash> merges_;
  bool ignore_merges_ = false;  // a word that is a token is that token
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  std::optional<int32_t> unknown_;
};

}  // namespace sinter::runtime::tokenizer
