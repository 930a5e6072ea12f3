// Everything a loaded tokenizer holds.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/result.h"
#include "runtime/tokenizer_added.h"
#include "runtime/tokenizer_bpe.h"
#include "runtime/tokenizer_decoder.h"
#include "runtime/tokenizer_sentencepiece.h"
#include "runtime/tokenizer_stages.h"

namespace sinter::runtime::tokenizer {

struct IdEntry {
  bool used = false;
  bool special = false;
  bool added = false;
  int16_t byte = -1;          // kText with byte_fallback, kPieces: the byte that this id is
  bool space_prefix = false;  // kPieces: at the start of a text the first space of `text` goes
  std::string_view token;     // as the vocabulary spells it; owned by the model or Model::added
  std::string text;           // what it decodes to: see Decoder
};

struct Model {
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  Bpe bpe;
  // In place of the normalizer, the pre-tokenizer and bpe.
  std::optional<SentencePiece> sentencepiece;
  bool legacy = true;  // sentencepiece: text after an added token has the dummy prefix too
  Decoder decoder;
  std::vector<AddedToken> added;  // special ones first
  AddedTokenMatcher raw_matcher;  // finds those with normalized == false, before normalizing
  AddedTokenMatcher normalized_matcher;
  std::vector<AddedToken> control;  // of sentencepiece: pieces that text does not contain
  AddedTokenMatcher control_matcher;
  std::vector<int32_t> template_prefix, template_suffix;  // what the post-processor puts around
  Vocabulary added_ids;
  std::vector<IdEntry> ids;

  const Vocabulary& vocabulary() const {
    return sentencepiece ? sentencepiece->vocabulary() : bpe.vocabulary();
  }
};

Result<std::shared_ptr<const Model>> load_model(std::string_view tokenizer_json,
                                                std::string_view tokenizer_config_json);

}  // namespace sinter::runtime::tokenizer
