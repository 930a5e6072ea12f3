// SentencePiece models (tokenizer.model): BPE and unigram, with the library's results.
//
// The library itself is not linked: see docs/dependencies.md. Format: sentencepiece_model.proto of
// google/sentencepiece.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/bpe.h"
#include "runtime/text/tokenizer/charsmap.h"
#include "runtime/text/tokenizer/regex.h"
#include "runtime/text/tokenizer/vocabulary.h"

namespace sinter::runtime::tokenizer {

// U+2581, which stands for a space within pieces.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

// ModelProto, as far as it says how to encode and decode.
struct SentencePieceModel {
  enum class PieceType {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  enum class Algorithm { kUnigram = 1, kBpe = 2 };

  std::vector<Piece> pieces;  // the index is the id
  Algorithm algorithm = Algorithm::kUnigram;
  bool byte_fallback = false;
  std::string unknown_surface = " \xE2\x81\x87 ";  // what the unknown piece decodes to
  int32_t bos_id = 1, eos_id = 2;                  // -1 for none
  std::string charsmap;                            // empty: text stays as it is
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  // The bytes of a tokenizer.model. What would change encodings and is not supported (models of
  // words or characters, white space as a suffix, denormalization) is an error that names it.
  static Result<SentencePieceModel> parse(std::string_view bytes);
  // The bytes that parse() reads.
  std::string serialize() const;
};

// Finds which pieces begin a text: a sorted list, narrowed byte by byte.
class PieceIndex {
 public:
  void reserve(size_t count) { entries_.reserve(count); }
  void add(std::string_view piece, int32_t id) { entries_.push_back({piece, id}); }
  void finish();
  // Calls found(length, id) for every piece that `text` begins with, shorter ones first. Returns
  // how many bytes it had to look at.
  template <class Found>
  size_t prefixes_of(std::string_view text, Found found) const;
  // The length of the longest such piece, 0 when there is none. `*steps` grows by the bytes that it
  // had to look at.
  size_t longest_prefix(std::string_view text, uint64_t* steps) const;

 private:
  struct Entry {
    std::string_view piece;
    int32_t id;
  };
  std::vector<Entry> entries_;
};

class SentencePiece {
 public:
  // Error: pieces that are empty or lack what the model's options need.
  static Result<SentencePiece> create(SentencePieceModel model);
  SentencePiece(SentencePiece&&) = default;
  SentencePiece& operator=(SentencePiece&&) = default;

  const SentencePieceModel& model() const { return *model_; }
  // The id of the last piece that is spelled so.
  std::optional<int32_t> find(std::string_view piece) const;

  // Appends the ids of `text`. The dummy prefix is the space that the model puts before a text.
  // Fails when the budget is spent: pieces may be as long as texts that begin them again and again.
  [[nodiscard]] Status encode(std::string_view text, bool dummy_prefix, MatchBudget* budget,
                              std::vector<int32_t>* ids) const;

 private:
  struct Part {  // of a normalized text
    std::string_view text;
    int32_t id;
  };
  SentencePiece() = default;
  auto text_of() const {
    return [&pieces = model_->pieces](size_t id) -> std::string_view { return pieces[id].text; };
  }
  std::string normalize(std::string_view text, bool dummy_prefix, uint64_t* steps) const;
  int32_t id_of(std::string_view piece) const;  // the unknown id for what is no piece
  // nullopt when the budget is spent.
  std::optional<std::vector<Part>> encode_bpe(std::string_view text, MatchBudget* budget) const;
  std::optional<std::vector<Part>> encode_unigram(std::string_view text, MatchBudget* budget) const;

  std::unique_ptr<const SentencePieceModel> model_;  // owns what the indexes point into
  std::optional<Charsmap> charsmap_;
  TextIndex ids_;            // all pieces
  PieceIndex text_pieces_;   // those that can be found in text: normal and user defined
  PieceIndex user_defined_;  // never normalized, never split
  std::vector<int32_t> byte_ids_;
  int32_t unknown_id_ = 0;
  float unknown_score_ = 0;
  float highest_score_ = 0;
};

}  // namespace sinter::runtime::tokenizer
