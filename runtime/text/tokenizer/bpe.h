// Byte pair encoding of one word: vocabulary, merges, and the merge loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/vocabulary.h"

namespace sinter::runtime::tokenizer {

// Which two neighbours join, to what, and how early: a hash table.
class MergeTable {
 public:
  struct Merge {
    int32_t rank;  // lower merges first
    int32_t id;    // of the joined token
  };
  void reserve(size_t merges);  // before the first set()
  void set(int32_t left, int32_t right, Merge merge);
  const Merge* find(int32_t left, int32_t right) const {  // nullptr if they do not join
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place_of(left, right)];
    return slot.merge.id < 0 ? nullptr : &slot.merge;
  }

 private:
  struct Slot {
    int32_t left = 0, right = 0;
    Merge merge = {0, -1};  // id -1: the slot is free
  };
  size_t place_of(int32_t left, int32_t right) const;
  std::vector<Slot> slots_;  // a power of two, a quarter of them free
  int shift_ = 0;            // leaves the bits that number the slots
};

class Bpe {
 public:
  // Reads the `model` object, of which `document` holds the vocabulary and the merges. Every merge
  // must join two tokens into a third.
  static Bpe read(const JsonField& model, Document document);

  // Appends the ids of `word`, in O(n log n). A character that is not in the vocabulary becomes its
  // bytes (byte_fallback), the unknown token, or nothing, as the model says. Fails if the unknown
  // token is wanted, but no token.
  Status encode(std::string_view word, std::vector<int32_t>* ids) const;

  const TokenTable& vocabulary() const { return vocabulary_; }

 private:
  void read_merges(const JsonField& field, const MergeList& merges);
  Status initial_symbols(std::string_view word, std::vector<int32_t>* ids) const;

  TokenTable vocabulary_;
  MergeTable merges_;
  std::string continuing_prefix_;  // of characters that do not begin a word
  std::string end_suffix_;         // of the character that ends a word
  bool ignore_merges_ = false;     // a word that is a token is that token
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  std::optional<std::string> unknown_token_;
  std::optional<int32_t> unknown_;
  std::vector<int32_t> byte_ids_;
};

}  // namespace sinter::runtime::tokenizer
