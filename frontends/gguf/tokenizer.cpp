#include "frontends/gguf/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "frontends/error_text.h"
#include "frontends/json_file.h"
#include "frontends/near_names.h"
#include "runtime/support/json_text.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer/decoder.h"
#include "runtime/text/tokenizer/patterns.h"
#include "runtime/text/tokenizer/sentencepiece.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::frontends {
namespace {

using runtime::tokenizer::SentencePieceModel;
using PieceType = SentencePieceModel::PieceType;

// More than any vocabulary has; bounds the memory that short tokens take.
constexpr uint64_t kMaxTokens = 1 << 21;
constexpr uint64_t kMaxMerges = 1 << 22;

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr const char* kCharsmap = "tokenizer.ggml.precompiled_charsmap";

constexpr std::array<std::string_view, 6> kKinds = {"gpt2",   "llama",      "t5",
                                                    "gemma4", "whitespace", "bert"};

struct Token {
  std::string_view text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

bool is_special(PieceType type) {
  return type == PieceType::kControl || type == PieceType::kUnknown;
}

// A message about the tokenizer.json that the lists were made into, in the words of the lists.
std::string in_words_of_gguf(std::string message) {
  const std::pair<std::string_view, const char*> kPlaces[] = {
      {"model.vocab", kTokens},
      {"model.merges", kMerges},
      {"model.proto cannot be used: the normalization table", kCharsmap},
      {"model.proto", kTokens},
      {"added_tokens", kTypes},
      {"aliases", kTokens},
      {"normalizer", kCharsmap},
      {"post_processor", "tokenizer.ggml.bos_token_id"},
  };
  constexpr std::string_view kFile = "tokenizer.json: ";
  if (!message.starts_with(kFile)) return message;
  message.erase(0, kFile.size());
  for (const auto& [place, key] : kPlaces)
    if (message.starts_with(place))
      return fmt::format("\"{}\"{}", key, std::string_view(message).substr(place.size()));
  return message;
}

// Reads what a file says of its tokenizer. Errors name the file and the key.
class TokenizerReader {
 public:
  TokenizerReader(const Gguf& gguf, runtime::TokenizerFiles* files) : gguf_(gguf), files_(*files) {}

  // `kind`: "tokenizer.ggml.model".
  absl::Status read(const std::string& kind) {
    if (absl::Status status = read_tokens(); !status.ok()) return status;
    if (kind == "bert") spell_as_wordpiece();
    find_duplicates();
    const bool is_sentencepiece = kind == "llama" || kind == "t5";
    auto json = kind == "bert"     ? wordpiece()
                : is_sentencepiece ? sentencepiece(/*unigram=*/kind == "t5")
                                   : bpe(kind);
    if (!json.ok()) return json.status();
    // What a chat template asks of tokenizer_config.json.
    Json config = Json::object();
    for (const auto& [name, id] : {std::pair("bos_token", bos_), std::pair("eos_token", eos_)})
      if (id) config[name] = std::string(tokens_[static_cast<size_t>(*id)].text);
    const std::string config_json = runtime::to_line(config);
    // These are as large as what is loaded from them.
    tokens_ = {};
    ids_ = {};
    made_.clear();
    const auto loaded = runtime::Tokenizer::from_json(*json, config_json);
    if (!loaded.ok())
      return invalid("{}: {}", gguf_.file, in_words_of_gguf(loaded.error().message));
    files_.tokenizer_json = *std::move(json);
    files_.tokenizer_config_json = config_json;
    return absl::OkStatus();
  }

 private:
  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    files_.notes.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  absl::StatusOr<GgufArray> array(const char* key) const {
    const auto found = gguf_.arrays.find(key);
    if (found != gguf_.arrays.end()) return found->second;
    const auto list = get_array(gguf_.metadata, key, gguf_.file);
    if (!list.ok()) return list.status();
    return invalid("{}: \"{}\" is an array of arrays, expected an array of plain values",
                   gguf_.file, key);
  }

  // A list that is as long as the list of tokens; nullopt when it is absent.
  absl::StatusOr<std::optional<GgufArray>> list_of(const char* key) const {
    if (find_field(gguf_.metadata, key) == nullptr) return std::nullopt;
    const auto list = array(key);
    if (!list.ok()) return list.status();
    if (list->count != tokens_.size()) {
      return invalid("{}: \"{}\" has {} entries, but there are {} tokens", gguf_.file, key,
                     list->count, tokens_.size());
    }
    if (!list->is_number())
      return invalid("{}: \"{}\" is not an array of numbers", gguf_.file, key);
    return std::optional(*list);
  }

  absl::Status read_tokens() {
    const auto texts = array(kTokens);
    if (!texts.ok()) return texts.status();
    if (!texts->is_text())
      return invalid("{}: \"{}\" is not an array of strings", gguf_.file, kTokens);
    if (texts->count == 0) return invalid("{}: \"{}\" is empty", gguf_.file, kTokens);
    if (texts->count > kMaxTokens) {
      return invalid("{}: \"{}\" has {} entries, at most {} are accepted", gguf_.file, kTokens,
                     with_commas(texts->count), with_commas(kMaxTokens));
    }
    tokens_.reserve(texts->count);
    for (const std::string_view text : texts->texts()) tokens_.push_back({.text = text});
    const auto scores = list_of(kScores);
    if (!scores.ok()) return scores.status();
    const auto types = list_of(kTypes);
    if (!types.ok()) return types.status();
    size_t undefined = 0, invalid_texts = 0;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      Token& token = tokens_[i];
      if (*scores) token.score = static_cast<float>((*scores)->number(i));
      if (!std::isfinite(token.score))
        return invalid("{}: \"{}\"[{}] is {}, expected a finite number", gguf_.file, kScores, i,
                       token.score);
      if (*types) {
        const double type = (*types)->number(i);
        // 0 is "undefined": such tokens are found in text as normal ones are.
        if (type >= 1 && type <= 6) {
          token.type = static_cast<PieceType>(static_cast<int>(type));
        } else if (type != 0) {
          ++undefined;
        }
      }
      if (!runtime::tokenizer::is_valid_utf8(token.text)) {
        ++invalid_texts;
        token.text = made_.emplace_back(runtime::tokenizer::replace_invalid_utf8(token.text));
      }
      if (token.text.empty()) token.text = made_.emplace_back(fmt::format("[EMPTY_{}]", i));
    }
    if (invalid_texts > 0)
      note("\"{}\" has {} tokens that are not valid UTF-8; U+FFFD replaces the invalid bytes",
           kTokens, invalid_texts);
    if (undefined > 0)
      note("\"{}\" has {} entries outside 0 to 6; they are read as normal tokens", kTypes,
           undefined);
    return absl::OkStatus();
  }

  auto text_of() const {
    return [this](size_t id) { return tokens_[id].text; };
  }

  // Fills ids_: of tokens with the same text the last counts.
  void find_duplicates() {
    size_t duplicates = 0;
    std::string_view example;
    for (size_t i = 0; i < tokens_.size(); ++i)
      if (!ids_.put(i, text_of()) && ++duplicates == 1) example = tokens_[i].text;
    if (duplicates > 0)
      note("\"{}\" repeats {} tokens, such as {}; text is encoded as the last of each", kTokens,
           duplicates, in_quotes(example));
  }
  std::optional<size_t> find(std::string_view text) const { return ids_.find(text, text_of()); }
  bool counts(size_t id) const { return find(tokens_[id].text) == id; }

  // Nothing when the key is absent, or, with a note, when its value is no token.
  absl::StatusOr<std::optional<int32_t>> token_id(const char* key) {
    if (find_field(gguf_.metadata, key) == nullptr) return std::nullopt;
    const auto id = get_int(gguf_.metadata, key, gguf_.file);
    if (!id.ok()) return id.status();
    if (*id >= 0 && *id < static_cast<int64_t>(tokens_.size()))
      return std::optional(static_cast<int32_t>(*id));
    note("\"{}\" is {}, but there are {} tokens; it is ignored", key, *id, tokens_.size());
    return std::nullopt;
  }

  // bos_, eos_ and around_.
  absl::Status read_ends(bool adds_bos, bool adds_eos) {
    for (const auto& [key, flag, otherwise, id, to] :
         {std::tuple("tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token", adds_bos, &bos_,
                     &around_.bos),
          std::tuple("tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_eos_token", adds_eos, &eos_,
                     &around_.eos)}) {
      const auto found = token_id(key);
      if (!found.ok()) return found.status();
      *id = *found;
      const auto wanted = get_bool_or(gguf_.metadata, flag, gguf_.file, otherwise);
      if (!wanted.ok()) return wanted.status();
      if (*wanted) *to = *found;
    }
    return absl::OkStatus();
  }

  // Tokens that are found in text before anything else, as `added_tokens`.
  std::string added_tokens() const {
    std::string json = "[";
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const Token& token = tokens_[i];
      if (!is_special(token.type) && token.type != PieceType::kUserDefined) continue;
      // A text has spaces where such a piece has their symbol.
      if (token.type == PieceType::kUserDefined &&
          token.text.find(runtime::tokenizer::kSpaceSymbol) != std::string_view::npos)
        continue;
      if (!counts(i)) continue;
      if (json.size() > 1) json += ',';
      json += runtime::tokenizer::added_token_json(token.text, static_cast<int64_t>(i),
                                                   is_special(token.type));
    }
    return json + ']';
  }

  absl::StatusOr<const runtime::tokenizer::SplitPatterns*> split_of(const std::string& kind) {
    const auto pre = get_string_or(gguf_.metadata, "tokenizer.ggml.pre", gguf_.file, "default");
    if (!pre.ok()) return pre.status();
    const std::string name = kind == "gpt2" ? *pre : kind;
    if (const auto* split = runtime::tokenizer::find_split_patterns(name)) return split;
    const auto known = runtime::tokenizer::known_split_patterns();
    const auto near = near_names(name, known);
    return invalid("{}: \"tokenizer.ggml.pre\" is {}, whose split pattern is not known{}",
                   gguf_.file, in_quotes(name),
                   near.empty() ? fmt::format("; {} others are", known.size())
                                : fmt::format("; did you mean {}?", some_quoted(near)));
  }

  // ["left right", ...]
  absl::StatusOr<std::string> merges() {
    const auto list = array(kMerges);
    if (!list.ok()) return list.status();
    if (!list->is_text())
      return invalid("{}: \"{}\" is not an array of strings", gguf_.file, kMerges);
    if (list->count > kMaxMerges) {
      return invalid("{}: \"{}\" has {} entries, at most {} are accepted", gguf_.file, kMerges,
                     with_commas(list->count), with_commas(kMaxMerges));
    }
    std::string json = "[", joined;
    size_t index = 0;
    for (const std::string_view merge : list->texts()) {
      // The first character of a token may be a space.
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos)
        return invalid("{}: \"{}\"[{}] is {}, expected two tokens", gguf_.file, kMerges, index,
                       in_quotes(merge));
      const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
      joined.assign(left).append(right);
      for (const std::string_view token : {left, right, std::string_view(joined)}) {
        if (!find(token))
          return invalid(
              "{}: \"{}\"[{}] is {}, which needs the token {}, but the vocabulary does not have it",
              gguf_.file, kMerges, index, in_quotes(merge), in_quotes(token));
      }
      json += index == 0 ? "[" : ",[";
      json += runtime::tokenizer::json_string(std::string(left)) + ',' +
              runtime::tokenizer::json_string(std::string(right));
      json += ']';
      ++index;
    }
    return json + ']';
  }

  absl::StatusOr<std::string> bpe(const std::string& kind) {
    const auto split = split_of(kind);
    if (!split.ok()) return split.status();
    if (absl::Status status = read_ends((*split)->add_bos, false); !status.ok()) return status;
    const auto prefix =
        get_bool_or(gguf_.metadata, "tokenizer.ggml.add_space_prefix", gguf_.file, false);
    if (!prefix.ok()) return prefix.status();
    if (*prefix)
      note(
          "\"tokenizer.ggml.add_space_prefix\" is true, which byte pair encodings of GGUF files "
          "ignore");
    runtime::tokenizer::BpeParts parts;
    parts.split = **split;
    auto pairs = merges();
    if (!pairs.ok()) return pairs.status();
    parts.merges = *std::move(pairs);
    parts.tokens = token_lists();
    return runtime::tokenizer::bpe_json(std::move(parts), around_);
  }

  runtime::tokenizer::TokenLists token_lists() const {
    runtime::tokenizer::TokenLists lists;
    lists.vocab = "{";
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const std::string text = runtime::tokenizer::json_string(std::string(tokens_[i].text));
      if (counts(i)) {
        if (lists.vocab.size() > 1) lists.vocab += ',';
        lists.vocab += text + ':' + std::to_string(i);
      } else {
        lists.aliases += fmt::format("{}[{},{}]", lists.aliases.empty() ? '[' : ',', i, text);
      }
    }
    lists.vocab += '}';
    if (!lists.aliases.empty()) lists.aliases += ']';
    lists.added = added_tokens();
    return lists;
  }

  // "bert" marks the pieces that begin a word, by U+2581, where WordPiece marks those that go on.
  void spell_as_wordpiece() {
    for (Token& token : tokens_) {
      std::string_view text = token.text;
      const bool named = text.size() > 2 && text.starts_with('[') && text.ends_with(']');
      if (is_special(token.type) || named) continue;
      if (text.starts_with(runtime::tokenizer::kSpaceSymbol))
        token.text.remove_prefix(runtime::tokenizer::kSpaceSymbol.size());
      else
        token.text = made_.emplace_back(fmt::format("##{}", text));
    }
  }

  // The first of the keys that is there, else the token that BERT calls so.
  absl::StatusOr<std::optional<int32_t>> named_token(const std::vector<const char*>& keys,
                                                     std::string_view name) {
    for (const char* key : keys) {
      auto id = token_id(key);
      if (!id.ok() || *id) return id;
    }
    const auto found = find(name);
    return found ? std::optional(static_cast<int32_t>(*found)) : std::nullopt;
  }

  absl::StatusOr<std::string> wordpiece() {
    for (const auto& [keys, name, flag, to] :
         {std::tuple(std::vector<const char*>{"tokenizer.ggml.bos_token_id",
                                              "tokenizer.ggml.cls_token_id"},
                     "[CLS]", "tokenizer.ggml.add_bos_token", &around_.bos),
          // The key is spelled so.
          std::tuple(std::vector<const char*>{"tokenizer.ggml.seperator_token_id",
                                              "tokenizer.ggml.eos_token_id"},
                     "[SEP]", "tokenizer.ggml.add_sep_token", &around_.eos)}) {
      const auto id = named_token(keys, name);
      if (!id.ok()) return id.status();
      const auto wanted = get_bool_or(gguf_.metadata, flag, gguf_.file, true);
      if (!wanted.ok()) return wanted.status();
      if (*wanted) *to = *id;
    }
    const auto unknown = named_token({"tokenizer.ggml.unknown_token_id"}, "[UNK]");
    if (!unknown.ok()) return unknown.status();
    if (!*unknown)
      return invalid("{}: no token is [UNK], and \"tokenizer.ggml.unknown_token_id\" names none",
                     gguf_.file);
    // A vocabulary without capitals is for text without them.
    const bool has_capitals = std::any_of(tokens_.begin(), tokens_.end(), [](const Token& token) {
      return !is_special(token.type) && !token.text.starts_with('[') &&
             std::any_of(token.text.begin(), token.text.end(),
                         [](char c) { return c >= 'A' && c <= 'Z'; });
    });
    return runtime::tokenizer::wordpiece_json(
        token_lists(), tokens_[static_cast<size_t>(**unknown)].text, !has_capitals, around_);
  }

  absl::Status read_charsmap(SentencePieceModel* model) const {
    if (find_field(gguf_.metadata, kCharsmap) == nullptr) return absl::OkStatus();
    const auto list = array(kCharsmap);
    if (!list.ok()) return list.status();
    if (!list->is_integer())
      return invalid("{}: \"{}\" is not an array of bytes", gguf_.file, kCharsmap);
    model->charsmap.reserve(list->count);
    for (uint64_t i = 0; i < list->count; ++i) {
      const int64_t byte = list->integer(i);
      if (byte < -128 || byte > 255)
        return invalid("{}: \"{}\" has {}, expected bytes", gguf_.file, kCharsmap, byte);
      model->charsmap.push_back(static_cast<char>(byte));
    }
    return absl::OkStatus();
  }

  // The one piece for what is no other: the key says which, else the first that has the type, else
  // piece 0 if no text is encoded as it.
  absl::Status choose_unknown() {
    auto unknown = token_id("tokenizer.ggml.unknown_token_id");
    if (!unknown.ok()) return unknown.status();
    for (size_t i = 0; i < tokens_.size() && !*unknown; ++i)
      if (tokens_[i].type == PieceType::kUnknown) *unknown = static_cast<int32_t>(i);
    if (!*unknown && !tokens_.empty() && tokens_[0].type == PieceType::kControl) *unknown = 0;
    if (!*unknown)
      return invalid("{}: no token has the type 2 (unknown), and \"{}\" names none", gguf_.file,
                     "tokenizer.ggml.unknown_token_id");
    // Of pieces with the same text the last counts.
    *unknown = static_cast<int32_t>(*find(tokens_[static_cast<size_t>(**unknown)].text));
    for (Token& token : tokens_)
      if (token.type == PieceType::kUnknown) token.type = PieceType::kControl;
    tokens_[static_cast<size_t>(**unknown)].type = PieceType::kUnknown;
    return absl::OkStatus();
  }

  // Bytes stand in for unknown characters where all of them have a token.
  bool choose_bytes() {
    std::vector<bool> seen(256);
    size_t count = 0;
    for (Token& token : tokens_) {
      if (token.type != PieceType::kByte) continue;
      const int byte = runtime::tokenizer::fallback_byte(token.text);
      if (byte < 0) {
        token.type = PieceType::kNormal;
      } else if (!seen[static_cast<size_t>(byte)]) {
        seen[static_cast<size_t>(byte)] = true;
        ++count;
      }
    }
    if (count == 256) return true;
    if (count > 0)
      note(
          "only {} of the 256 bytes have a token; characters outside the vocabulary become the "
          "unknown token",
          count);
    for (Token& token : tokens_)
      if (token.type == PieceType::kByte) token.type = PieceType::kUnused;
    return false;
  }

  // "llama" holds what a tokenizer.model of BPE does, "t5" one of unigram.
  absl::StatusOr<std::string> sentencepiece(bool unigram) {
    if (absl::Status status = read_ends(!unigram, unigram); !status.ok()) return status;
    SentencePieceModel model;
    model.algorithm =
        unigram ? SentencePieceModel::Algorithm::kUnigram : SentencePieceModel::Algorithm::kBpe;
    model.bos_id = bos_.value_or(-1);
    model.eos_id = eos_.value_or(-1);
    for (const auto& [key, to, otherwise] :
         {std::tuple("tokenizer.ggml.add_space_prefix", &model.add_dummy_prefix, true),
          std::tuple("tokenizer.ggml.remove_extra_whitespaces", &model.remove_extra_whitespaces,
                     unigram)}) {
      const auto value = get_bool_or(gguf_.metadata, key, gguf_.file, otherwise);
      if (!value.ok()) return value.status();
      *to = *value;
    }
    if (absl::Status status = read_charsmap(&model); !status.ok()) return status;
    if (absl::Status status = choose_unknown(); !status.ok()) return status;
    model.byte_fallback = choose_bytes();
    model.pieces.reserve(tokens_.size());
    for (const Token& token : tokens_)
      model.pieces.push_back({std::string(token.text), token.score, token.type});
    return runtime::tokenizer::sentencepiece_json(model.serialize(), added_tokens(),
                                                  /*legacy=*/true, around_);
  }

  const Gguf& gguf_;
  runtime::TokenizerFiles& files_;
  std::vector<Token> tokens_;
  std::deque<std::string> made_;       // texts of tokens that the file does not hold
  runtime::tokenizer::TextIndex ids_;  // places in tokens_
  std::optional<int32_t> bos_, eos_;
  runtime::tokenizer::Around around_;
};

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
  absl::Status status;
  if (std::find(kKinds.begin(), kKinds.end(), *kind) == kKinds.end()) {
    status = invalid("{}: \"{}\" is {}, which is not supported; supported: {}", gguf.file, kModel,
                     in_quotes(*kind), fmt::join(kKinds, ", "));
  } else {
    status = TokenizerReader(gguf, &files).read(*kind);
  }
  if (!status.ok()) {
    const std::string message(status.message());
    std::string_view why = message;
    if (why.starts_with(gguf.file + ": ")) why.remove_prefix(gguf.file.size() + 2);
    files.notes.push_back(fmt::format("{}; the model can be used with token ids only", why));
  }
  return files;
}

}  // namespace sinter::frontends
