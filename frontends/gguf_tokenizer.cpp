#include "frontends/gguf_tokenizer.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/error_text.h"
#include "frontends/json_file.h"
#include "runtime/chat_template.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer_sentencepiece.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::frontends {
namespace {

using runtime::tokenizer::SentencePieceModel;
using PieceType = SentencePieceModel::PieceType;

struct Token {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

// A list that is as long as the list of tokens; nullptr when it is absent.
absl::StatusOr<const Json*> list_of(const Gguf& gguf, const char* key, size_t size) {
  if (find_field(gguf.metadata, key) == nullptr) return nullptr;
  auto list = get_array(gguf.metadata, key, gguf.file);
  if (list.ok() && (*list)->size() != size) {
    return invalid("{}: \"{}\" has {} entries, but there are {} tokens", gguf.file, key,
                   (*list)->size(), size);
  }
  return list;
}

absl::StatusOr<std::vector<Token>> read_tokens(const Gguf& gguf) {
  const auto texts = get_array(gguf.metadata, "tokenizer.ggml.tokens", gguf.file);
  if (!texts.ok()) return texts.status();
  const auto scores = list_of(gguf, "tokenizer.ggml.scores", (*texts)->size());
  if (!scores.ok()) return scores.status();
  const auto types = list_of(gguf, "tokenizer.ggml.token_type", (*texts)->size());
  if (!types.ok()) return types.status();
  std::vector<Token> tokens((*texts)->size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Json& text = (**texts)[i];
    if (!text.is_string())
      return invalid("{}: \"tokenizer.ggml.tokens\"[{}] is {}, expected a string", gguf.file, i,
                     describe(text));
    tokens[i].text = text.get<std::string>();
    if (*scores != nullptr) {
      const Json& score = (**scores)[i];
      if (!score.is_number())
        return invalid("{}: \"tokenizer.ggml.scores\"[{}] is {}, expected a number", gguf.file, i,
                       describe(score));
      tokens[i].score = score.get<float>();
    }
    if (*types != nullptr) {
      const Json& type = (**types)[i];
      if (!type.is_number_integer() || type.get<int64_t>() < 1 || type.get<int64_t>() > 6)
        return invalid("{}: \"tokenizer.ggml.token_type\"[{}] is {}, expected 1 to 6", gguf.file, i,
                       describe(type));
      tokens[i].type = static_cast<PieceType>(type.get<int64_t>());
    }
  }
  return tokens;
}

// Nothing when the key is absent.
absl::StatusOr<std::optional<int32_t>> token_id(const Gguf& gguf, const char* key, size_t count) {
  if (find_field(gguf.metadata, key) == nullptr) return std::optional<int32_t>();
  const auto id =
      get_int(gguf.metadata, key, gguf.file, IntRange{0, static_cast<int64_t>(count) - 1});
  if (!id.ok()) return id.status();
  return std::optional(static_cast<int32_t>(*id));
}

struct Ends {
  std::optional<int32_t> bos, eos;
  runtime::tokenizer::Around around;
};

absl::StatusOr<Ends> read_ends(const Gguf& gguf, size_t count, bool bos_default, bool eos_default) {
  Ends ends;
  for (const auto& [key, flag, otherwise, id, to] :
       {std::tuple("tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token", bos_default,
                   &ends.bos, &ends.around.bos),
        std::tuple("tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_eos_token", eos_default,
                   &ends.eos, &ends.around.eos)}) {
    const auto found = token_id(gguf, key, count);
    if (!found.ok()) return found.status();
    *id = *found;
    const auto wanted = get_bool_or(gguf.metadata, flag, gguf.file, otherwise);
    if (!wanted.ok()) return wanted.status();
    if (*wanted) *to = *found;
  }
  return ends;
}

absl::StatusOr<std::string> byte_level_bpe(const Gguf& gguf, const std::vector<Token>& tokens,
                                           Ends* ends) {
  const auto pre = get_string_or(gguf.metadata, "tokenizer.ggml.pre", gguf.file, "default");
  if (!pre.ok()) return pre.status();
  const auto* split = runtime::tokenizer::find_split_patterns(*pre);
  if (split == nullptr) {
    return invalid("{}: \"tokenizer.ggml.pre\" is {}, whose split pattern is not known; known: {}",
                   gguf.file, in_quotes(*pre), runtime::tokenizer::known_split_patterns());
  }
  auto read = read_ends(gguf, tokens.size(), split->add_bos, false);
  if (!read.ok()) return read.status();
  *ends = *read;
  const auto merges = get_array(gguf.metadata, "tokenizer.ggml.merges", gguf.file);
  if (!merges.ok()) return merges.status();
  runtime::tokenizer::ByteLevelBpe parts;
  parts.split = *split;
  const auto prefix =
      get_bool_or(gguf.metadata, "tokenizer.ggml.add_space_prefix", gguf.file, false);
  if (!prefix.ok()) return prefix.status();
  if (*prefix)
    return invalid(
        "{}: \"tokenizer.ggml.add_space_prefix\" is true, which is not supported for "
        "byte-level BPE",
        gguf.file);
  parts.vocab = Json::object();
  parts.merges = **merges;
  parts.added_tokens = Json::array();
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (!runtime::tokenizer::is_valid_utf8(token.text))
      return invalid("{}: \"tokenizer.ggml.tokens\"[{}] is not UTF-8", gguf.file, i);
    if (token.type == PieceType::kControl || token.type == PieceType::kUserDefined) {
      parts.added_tokens.push_back({{"id", i},
                                    {"content", token.text},
                                    {"special", token.type == PieceType::kControl},
                                    {"normalized", false}});
    } else if (!parts.vocab.emplace(token.text, i).second) {
      return invalid("{}: \"tokenizer.ggml.tokens\" has {} twice", gguf.file,
                     in_quotes(token.text));
    }
  }
  return runtime::tokenizer::byte_level_json(parts, ends->around);
}

// "llama" holds what a tokenizer.model of BPE does, "t5" one of unigram.
absl::StatusOr<std::string> sentencepiece(const Gguf& gguf, const std::vector<Token>& tokens,
                                          bool unigram, Ends* ends) {
  auto read = read_ends(gguf, tokens.size(), !unigram, unigram);
  if (!read.ok()) return read.status();
  *ends = *read;
  SentencePieceModel model;
  model.algorithm =
      unigram ? SentencePieceModel::Algorithm::kUnigram : SentencePieceModel::Algorithm::kBpe;
  model.bos_id = ends->bos.value_or(-1);
  model.eos_id = ends->eos.value_or(-1);
  for (const auto& [key, to, otherwise] :
       {std::tuple("tokenizer.ggml.add_space_prefix", &model.add_dummy_prefix, true),
        std::tuple("tokenizer.ggml.remove_extra_whitespaces", &model.remove_extra_whitespaces,
                   unigram)}) {
    const auto value = get_bool_or(gguf.metadata, key, gguf.file, otherwise);
    if (!value.ok()) return value.status();
    *to = *value;
  }
  constexpr const char* kCharsmap = "tokenizer.ggml.precompiled_charsmap";
  if (find_field(gguf.metadata, kCharsmap) != nullptr) {
    const auto bytes = get_array(gguf.metadata, kCharsmap, gguf.file);
    if (!bytes.ok()) return bytes.status();
    for (const Json& byte : **bytes) {
      if (!byte.is_number_integer() || byte.get<int64_t>() < -128 || byte.get<int64_t>() > 255)
        return invalid("{}: \"{}\" has {}, expected bytes", gguf.file, kCharsmap, describe(byte));
      model.charsmap.push_back(static_cast<char>(byte.get<int64_t>()));
    }
  }
  bool has_unknown = false;
  for (const Token& token : tokens) {
    model.pieces.push_back({token.text, token.score, token.type});
    model.byte_fallback |= token.type == PieceType::kByte;
    has_unknown |= token.type == PieceType::kUnknown;
  }
  if (!has_unknown) {
    auto id = token_id(gguf, "tokenizer.ggml.unknown_token_id", tokens.size());
    if (!id.ok()) return id.status();
    if (*id) model.pieces[static_cast<size_t>(**id)].type = PieceType::kUnknown;
  }
  return runtime::tokenizer::sentencepiece_json(model.serialize(), Json::array(), /*legacy=*/true,
                                                ends->around);
}

// "tokenizer.chat_template", and "tokenizer.chat_template.NAME" for others than the default one.
absl::StatusOr<std::string> chat_templates(const Gguf& gguf) {
  constexpr std::string_view kDefault = "tokenizer.chat_template";
  runtime::ChatTemplates::Texts templates;
  for (const auto& [key, value] : gguf.metadata.items()) {
    const bool named = key.size() > kDefault.size() + 1 && key.starts_with(kDefault) &&
                       key[kDefault.size()] == '.';
    if (key != kDefault && !named) continue;
    auto text = get_string(gguf.metadata, key, gguf.file);
    if (!text.ok()) return text.status();
    templates.emplace_back(named ? key.substr(kDefault.size() + 1) : "default", *std::move(text));
  }
  return runtime::ChatTemplates::to_text(templates);
}

}  // namespace

absl::StatusOr<runtime::TokenizerFiles> gguf_tokenizer(const Gguf& gguf) {
  runtime::TokenizerFiles files;
  auto chat_template = chat_templates(gguf);
  if (!chat_template.ok()) return chat_template.status();
  files.chat_template = *std::move(chat_template);
  constexpr const char* kModel = "tokenizer.ggml.model";
  if (find_field(gguf.metadata, kModel) == nullptr) return files;
  const auto kind = get_string(gguf.metadata, kModel, gguf.file);
  if (!kind.ok()) return kind.status();
  if (*kind == "none" || *kind == "no_vocab") return files;
  if (*kind != "gpt2" && *kind != "llama" && *kind != "t5") {
    return invalid("{}: \"{}\" is {}, which is not supported; supported: gpt2, llama, t5",
                   gguf.file, kModel, in_quotes(*kind));
  }
  const auto tokens = read_tokens(gguf);
  if (!tokens.ok()) return tokens.status();
  Ends ends;
  auto json = *kind == "gpt2" ? byte_level_bpe(gguf, *tokens, &ends)
                              : sentencepiece(gguf, *tokens, *kind == "t5", &ends);
  if (!json.ok()) return json.status();
  // What a chat template asks of tokenizer_config.json.
  Json config = Json::object();
  for (const auto& [name, id] :
       {std::pair("bos_token", ends.bos), std::pair("eos_token", ends.eos)})
    if (id) config[name] = (*tokens)[static_cast<size_t>(*id)].text;
  files.tokenizer_json = *std::move(json);
  files.tokenizer_config_json = config.dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto loaded =
      runtime::Tokenizer::from_json(files.tokenizer_json, files.tokenizer_config_json);
  if (!loaded.ok()) {
    return invalid("{}: the tokenizer cannot be used: {}", gguf.file, loaded.error().message);
  }
  return files;
}

absl::StatusOr<runtime::TokenizerFiles> open_gguf_tokenizer(const std::filesystem::path& path) {
  const auto file = find_gguf(path);
  if (!file.ok()) return file.status();
  if (file->empty()) return runtime::TokenizerFiles();
  const auto gguf = open_gguf(*file);
  if (!gguf.ok()) return gguf.status();
  return gguf_tokenizer(*gguf);
}

}  // namespace sinter::frontends
