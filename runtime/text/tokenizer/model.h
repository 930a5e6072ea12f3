// Everything a loaded tokenizer holds.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/text/tokenizer/added.h"
#include "runtime/text/tokenizer/decoder.h"
#include "runtime/text/tokenizer/sentencepiece.h"
#include "runtime/text/tokenizer/stages.h"
#include "runtime/text/tokenizer/vocabulary.h"
#include "runtime/text/tokenizer/word_model.h"

namespace sinter::runtime::tokenizer {

struct IdEntry {
  std::string_view token;  // as the vocabulary spells it; owned by the model or Model::added
  int32_t added = -1;      // its place in Model::added; -1: it is not there
  bool used = false;
  bool special = false;
};

struct Model {
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  WordModel words;
  // In place of the normalizer, the pre-tokenizer and words.
  std::optional<SentencePiece> sentencepiece;
  bool legacy = true;  // sentencepiece: text after an added token has the dummy prefix too
  Decoder decoder;
  std::vector<AddedToken> added;  // special ones first
  AddedTokenMatcher raw_matcher;  // finds those with normalized == false, before normalizing
  AddedTokenMatcher normalized_matcher;
  AddedTokenMatcher control_matcher;  // of sentencepiece: pieces that text does not contain
  std::vector<int32_t> template_prefix, template_suffix;  // what the post-processor puts around
  TokenTable added_ids;
  std::vector<IdEntry> ids;

  // nullptr if no token has this id.
  const IdEntry* entry_of(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= ids.size()) return nullptr;
    const IdEntry& entry = ids[static_cast<size_t>(id)];
    return entry.used ? &entry : nullptr;
  }
  // The id of a token of the vocabulary, added ones left out.
  std::optional<int32_t> find_in_vocabulary(std::string_view token) const;
  // The id of an added token or else of the vocabulary's.
  std::optional<int32_t> find(std::string_view token) const;
};

Result<std::shared_ptr<const Model>> load_model(std::string_view tokenizer_json,
                                                std::string_view tokenizer_config_json);

// Reads what is put around a text: the post_processor of a tokenizer.json or, where
// tokenizer_config.json names a class of transformers that makes its own, what that would be.
// Requires that model->ids is filled in. Errors go to the fields.
void read_post_processor(const JsonField& post_processor, const JsonField& config, Model* model);

}  // namespace sinter::runtime::tokenizer
