// Brings every kind of tokenizer into the form that plans carry: the text of a tokenizer.json.
//
//   tokenizer.json          as it is
//   tokenizer.model         model type "SentencePiece", the file in base64
//   vocab.json, merges.txt  model type "BPE", with the split pattern of the tokenizer's class
//
// In that order: the first that is there and loads is taken.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/support/result.h"
#include "runtime/support/source_files.h"
#include "runtime/text/tokenizer/patterns.h"
#include "runtime/text/tokenizer/tokenizer.h"

namespace sinter::runtime {

struct TokenizerFiles {
  std::string tokenizer_json;          // empty: the folder has no tokenizer
  std::string tokenizer_config_json;   // bytes of tokenizer_config.json; may be empty
  std::string chat_template;           // ChatTemplates::to_text; empty: there is none
  std::vector<std::string> notes;      // what was there but could not be used, and why
  std::optional<Tokenizer> tokenizer;  // what the texts load to, where they were loaded already
};

// The tokenizer of a model folder, without chat_template. Files that are read are added to
// `sources`. Error: some are there, but none of them loads.
Result<TokenizerFiles> read_tokenizer(const std::string& folder, SourceFiles* sources = nullptr);

// tokenizer_config_json and chat_template of a model folder. Templates are chat_template.jinja,
// additional_chat_templates/NAME.jinja, and what tokenizer_config.json has beside them: a string or
// a list of {"name", "template"}. The configuration has the special tokens that are in
// special_tokens_map.json alone.
Result<TokenizerFiles> read_chat_template(const std::string& folder,
                                          SourceFiles* sources = nullptr);

namespace tokenizer {

// What stands beside the main file: contents, each of which may be empty.
struct SideFiles {
  std::string config;       // tokenizer_config.json
  std::string added;        // added_tokens.json: contents to ids
  std::string special_map;  // special_tokens_map.json: which tokens are special
};

Result<std::string> import_sentencepiece(std::string_view model, const SideFiles& side);
Result<std::string> import_vocab_merges(std::string_view vocab, std::string_view merges,
                                        const SideFiles& side);

// Tokenizer.json texts from parts, large ones of which are JSON texts.
struct TokenLists {
  std::string vocab;         // {token: id, ...}
  std::string added = "[]";  // as in tokenizer.json
  // [[id, token], ...]: ids of tokens that occur more than once, but for the one that counts when
  // text is encoded.
  std::string aliases = {};
};
struct BpeParts {
  TokenLists tokens;
  std::string merges;  // ["left right" or [left, right], ...]
  SplitPatterns split;
  bool add_prefix_space = false;
};
struct Around {
  std::optional<int32_t> bos, eos;  // ids that --special puts around a text
};
std::string bpe_json(BpeParts parts, const Around& around);
// As BERT's. `lowercase`: text loses capitals and accents first.
std::string wordpiece_json(TokenLists tokens, std::string_view unknown_token, bool lowercase,
                           const Around& around);
std::string sentencepiece_json(std::string_view model, std::string_view added_tokens, bool legacy,
                               const Around& around);
// One entry of `added_tokens`.
std::string added_token_json(std::string_view content, int64_t id, bool special);
// `text` (UTF-8) as a JSON string.
std::string json_string(std::string text);

// The files of a folder that hold what a plan's tokenizer is, in forms that others read too: a
// tokenizer.json, or a tokenizer.model with its tokenizer_config.json.
Result<std::vector<std::pair<std::string, std::string>>> tokenizer_folder_files(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json);

}  // namespace tokenizer
}  // namespace sinter::runtime
