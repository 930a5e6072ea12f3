#include "runtime/text/tokenizer/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <tuple>

#include "runtime/support/base64.h"
#include "runtime/support/folder.h"
#include "runtime/support/git_lfs.h"
#include "runtime/support/json_text.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer/json.h"
#include "runtime/text/tokenizer/sentencepiece.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime {
namespace tokenizer {
namespace {

constexpr std::array kNamedTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                     "pad_token", "cls_token", "mask_token"};

// A post-processor that puts tokens around a text; null for none.
Json around_json(const Around& around) {
  if (!around.bos && !around.eos) return nullptr;
  Json single = Json::array(), tokens = Json::object();
  const auto add = [&](const char* name, const std::optional<int32_t>& id) {
    if (!id) return;
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", {*id}}};
  };
  add("bos", around.bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("eos", around.eos);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
}

// [a, b, ...] of JSON texts.
class JsonArray {
 public:
  void add(std::string_view json) {
    if (text_.size() > 1) text_ += ',';
    text_ += json;
  }
  std::string finish() { return std::move(text_) + ']'; }

 private:
  std::string text_ = "[";
};

// The side files, parsed and checked.
class Side {
 public:
  static Result<Side> read(const SideFiles& files) {
    Side side;
    for (const auto& [text, name, to] :
         {std::tuple(&files.config, "tokenizer_config.json", &side.config_),
          std::tuple(&files.special_map, "special_tokens_map.json", &side.special_map_)}) {
      *to = Json::object();
      if (text->empty()) continue;
      auto parsed = parse_json(*text, name, /*has_model=*/false);
      if (!parsed.ok()) return parsed.error();
      if (!parsed->root.is_object()) return Error{fmt::format("{}: is not a JSON object", name)};
      *to = std::move(parsed->root);
    }
    if (files.added.empty()) return side;
    auto added = parse_vocabulary(files.added, "added_tokens.json");
    if (!added.ok()) return added.error();
    side.added_ = *std::move(added);
    return side;
  }

  // The text of `name`, e.g. "bos_token"; nothing if no file has it.
  std::optional<std::string> named(const char* name) const {
    for (const Json* file : {&config_, &special_map_}) {
      const auto found = file->find(name);
      if (found == file->end()) continue;
      if (auto content = content_of(*found)) return content;
    }
    return std::nullopt;
  }
  std::set<std::string, std::less<>> special_tokens() const {
    std::set<std::string, std::less<>> tokens;
    for (const char* name : kNamedTokens)
      if (const auto token = named(name)) tokens.insert(*token);
    for (const Json* file : {&config_, &special_map_}) {
      const auto more = file->find("additional_special_tokens");
      if (more == file->end() || !more->is_array()) continue;
      for (const Json& token : *more)
        if (const auto content = content_of(token)) tokens.insert(*content);
    }
    return tokens;
  }
  // Tokens of added_tokens.json that tokenizer_config.json does not describe: the loader reads
  // those itself.
  JsonArray added_tokens() const {
    std::set<std::string, std::less<>> described;
    if (const auto decoder = config_.find("added_tokens_decoder");
        decoder != config_.end() && decoder->is_object()) {
      for (const auto& [id, token] : decoder->items())
        if (const auto content = content_of(token)) described.insert(*content);
    }
    const auto special = special_tokens();
    JsonArray tokens;
    for (size_t i = 0; i < added_.size(); ++i) {
      const std::string_view content = added_.token(i);
      if (!described.contains(content))
        tokens.add(added_token_json(content, added_.id(i), special.contains(content)));
    }
    return tokens;
  }
  // The id of an added token, of either file.
  std::optional<int32_t> added_id(const std::string& content) const {
    if (const auto id = added_.find(content)) return id;
    const auto decoder = config_.find("added_tokens_decoder");
    if (decoder == config_.end() || !decoder->is_object()) return std::nullopt;
    for (const auto& [id, token] : decoder->items()) {
      if (content_of(token) != content) continue;
      int32_t value = -1;
      const auto parsed = std::from_chars(id.data(), id.data() + id.size(), value);
      if (parsed.ec == std::errc() && value >= 0) return value;
    }
    return std::nullopt;
  }
  bool flag(const char* name, bool otherwise) const {
    const auto found = config_.find(name);
    return found != config_.end() && found->is_boolean() ? found->get<bool>() : otherwise;
  }
  std::string tokenizer_class() const { return class_of(config_); }

 private:
  static std::optional<std::string> content_of(const Json& token) {
    if (token.is_string()) return token.get<std::string>();
    if (!token.is_object()) return std::nullopt;
    const auto content = token.find("content");
    if (content == token.end() || !content->is_string()) return std::nullopt;
    return content->get<std::string>();
  }

  Json config_, special_map_;
  TokenTable added_;
};

// The id of the token that `name` names, looked up by `find` after the added ones.
template <class Find>
Result<std::optional<int32_t>> named_id(const Side& side, const char* name, Find find) {
  const auto content = side.named(name);
  if (!content) return std::optional<int32_t>();
  if (const auto id = side.added_id(*content)) return id;
  if (const std::optional<int32_t> id = find(*content)) return id;
  return Error{fmt::format(
      "tokenizer_config.json: {} is '{}', which is not a token of the vocabulary", name, *content)};
}

}  // namespace

std::string json_string(std::string text) { return to_line(Json(std::move(text))); }

std::string added_token_json(std::string_view content, int64_t id, bool special) {
  return fmt::format(R"({{"id":{},"content":{},"special":{},"normalized":false}})", id,
                     json_string(std::string(content)), special);
}

namespace {

// `model`: its members but for the vocabulary, as JSON.
std::string tokenizer_json(const Json& stages, TokenLists tokens, std::string_view model) {
  std::string json = R"({"version":"1.0","added_tokens":)" + std::exchange(tokens.added, {});
  for (const auto& [name, stage] : stages.items())
    json += fmt::format(R"(,"{}":{})", name, to_line(stage));
  if (!tokens.aliases.empty()) json += R"(,"aliases":)" + tokens.aliases;
  json.append(R"(,"model":{)").append(model).append(R"(,"vocab":)").append(tokens.vocab);
  return json + "}}";
}

}  // namespace

std::string bpe_json(BpeParts parts, const Around& around) {
  Json steps = Json::array();
  Json normalizer, decoder = {{"type", "ByteLevel"}};
  const bool is_byte_level = parts.split.alphabet == Alphabet::kBytes;
  if (parts.split.nfc) normalizer = {{"type", "NFC"}};
  if (parts.split.alphabet == Alphabet::kSpaceSymbols) {
    normalizer = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceSymbol}};
    decoder = {{"type", "Sequence"},
               {"decoders",
                {{{"type", "Replace"}, {"pattern", {{"String", kSpaceSymbol}}}, {"content", " "}},
                 {{"type", "ByteFallback"}},
                 {{"type", "Fuse"}}}}};
  } else if (parts.split.alphabet == Alphabet::kWords) {
    decoder = {{"type", "Fuse"}};
  }
  if (parts.add_prefix_space) {
    // Before the split, as the ByteLevel step alone would do it.
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}});
  } else {
    const bool removes = parts.split.alphabet == Alphabet::kWords;
    for (const std::string& pattern : parts.split.patterns)
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", pattern}}},
                       {"behavior", removes ? "Removed" : "Isolated"},
                       {"invert", false}});
    if (is_byte_level)
      steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  }
  const Json stages = {{"normalizer", normalizer},
                       {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
                       {"post_processor", around_json(around)},
                       {"decoder", decoder}};
  std::string model =
      fmt::format(R"("type":"BPE","ignore_merges":{},"byte_fallback":{},"merges":)",
                  parts.split.ignore_merges, parts.split.alphabet == Alphabet::kSpaceSymbols);
  model += std::exchange(parts.merges, {});
  return tokenizer_json(stages, std::move(parts.tokens), model);
}

std::string wordpiece_json(TokenLists tokens, std::string_view unknown_token, bool lowercase,
                           const Around& around) {
  const Json stages = {{"normalizer", {{"type", "BertNormalizer"}, {"lowercase", lowercase}}},
                       {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                       {"post_processor", around_json(around)},
                       {"decoder", {{"type", "WordPiece"}}}};
  return tokenizer_json(
      stages, std::move(tokens),
      R"("type":"WordPiece","unk_token":)" + json_string(std::string(unknown_token)));
}

std::string sentencepiece_json(std::string_view model, std::string_view added_tokens, bool legacy,
                               const Around& around) {
  return fmt::format(
      R"({{"version":"1.0","added_tokens":{},"post_processor":{},"model":{{"type":"SentencePiece",)"
      R"("legacy":{},"proto":"{}"}}}})",
      added_tokens, to_line(around_json(around)), legacy, to_base64(model));
}

Result<std::string> import_sentencepiece(std::string_view bytes, const SideFiles& files) {
  const auto side = Side::read(files);
  if (!side.ok()) return side.error();
  const auto model = SentencePieceModel::parse(bytes);
  if (!model.ok()) return Error{fmt::format("tokenizer.model: {}", model.error().message)};
  const auto find = [&](const std::string& wanted) -> std::optional<int32_t> {
    const auto found =
        std::find_if(model->pieces.begin(), model->pieces.end(),
                     [&](const SentencePieceModel::Piece& piece) { return piece.text == wanted; });
    if (found == model->pieces.end()) return std::nullopt;
    return static_cast<int32_t>(found - model->pieces.begin());
  };
  const auto is_piece = [&](int32_t id) {
    return id >= 0 && static_cast<size_t>(id) < model->pieces.size();
  };
  // A decoder's text begins with the model's BOS; T5's, of an encoder, ends in EOS.
  const std::string name = side->tokenizer_class();
  Around around;
  if (side->flag("add_bos_token", name != "T5Tokenizer" && is_piece(model->bos_id))) {
    auto id = named_id(*side, "bos_token", find);
    if (!id.ok()) return id.error();
    around.bos = *id;
    if (!around.bos && is_piece(model->bos_id)) around.bos = model->bos_id;
  }
  if (side->flag("add_eos_token", name == "T5Tokenizer")) {
    auto id = named_id(*side, "eos_token", find);
    if (!id.ok()) return id.error();
    around.eos = *id;
    if (!around.eos && is_piece(model->eos_id)) around.eos = model->eos_id;
  }
  return sentencepiece_json(bytes, side->added_tokens().finish(), side->flag("legacy", true),
                            around);
}

Result<std::string> import_vocab_merges(std::string_view vocab, std::string_view merges,
                                        const SideFiles& files) {
  const auto side = Side::read(files);
  if (!side.ok()) return side.error();
  const std::string name = side->tokenizer_class();
  BpeParts parts;
  if (name.empty() || name == "GPT2Tokenizer") {
    parts.split = *find_split_patterns("gpt-2");
  } else if (name == "Qwen2Tokenizer") {
    parts.split = *find_split_patterns("qwen2");
    parts.split.nfc = true;
  } else {
    return Error{fmt::format(
        "tokenizer_config.json: tokenizer_class is '{}', for which the split pattern of "
        "vocab.json and merges.txt is not known; known: GPT2Tokenizer, Qwen2Tokenizer",
        name)};
  }
  const auto tokens = parse_vocabulary(vocab, "vocab.json");
  if (!tokens.ok()) return tokens.error();
  parts.tokens.vocab = vocab;
  JsonArray pairs;
  for (std::string_view rest = merges; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) pairs.add(json_string(std::string(line)));
  }
  parts.add_prefix_space = name != "Qwen2Tokenizer" && side->flag("add_prefix_space", false);

  const auto find = [&](const std::string& token) { return tokens->find(token); };
  parts.merges = pairs.finish();
  JsonArray added = side->added_tokens();
  // Special tokens may stand in vocab.json alone, as GPT-2's own does.
  auto special = side->special_tokens();
  special.insert("<|endoftext|>");
  for (const std::string& token : special) {
    if (token.empty() || side->added_id(token)) continue;
    if (const auto id = find(token)) added.add(added_token_json(token, *id, true));
  }
  parts.tokens.added = added.finish();
  Around around;
  for (const auto& [flag, token, id] : {std::tuple("add_bos_token", "bos_token", &around.bos),
                                        std::tuple("add_eos_token", "eos_token", &around.eos)}) {
    if (!side->flag(flag, false)) continue;
    auto found = named_id(*side, token, find);
    if (!found.ok()) return found.error();
    *id = *found;
  }
  return bpe_json(std::move(parts), around);
}

namespace {

// tokenizer.model and tokenizer_config.json of a model of type SentencePiece. The library that
// others use finds the ends of a text by their pieces, and refuses pieces that occur twice.
Result<std::vector<std::pair<std::string, std::string>>> sentencepiece_files(const Json& json,
                                                                             const Json& config) {
  std::string error;
  const JsonField root(&json, "tokenizer.json:", &error);
  const auto bytes = from_base64(root.member("model").member("proto").string());
  if (!error.empty() || !bytes) return Error{"the tokenizer's model is damaged"};
  auto model = SentencePieceModel::parse(*bytes);
  if (!model.ok()) return Error{fmt::format("the tokenizer's model: {}", model.error().message)};

  Around around;
  const JsonField tokens = root.member("post_processor").member("special_tokens");
  for (const auto& [name, to] : {std::pair("bos", &around.bos), std::pair("eos", &around.eos)}) {
    const JsonField ids = tokens.member(name).member("ids");
    if (!ids.is_null()) *to = static_cast<int32_t>(ids.item(0).integer(0, INT32_MAX));
  }
  Json out = config.is_object() ? config : Json::object();
  const bool is_bpe = model->algorithm == SentencePieceModel::Algorithm::kBpe;
  out["tokenizer_class"] = is_bpe ? "LlamaTokenizer" : "T5Tokenizer";
  if (!is_bpe) out["extra_ids"] = 0;
  out["legacy"] = root.member("model").member("legacy").boolean(true);
  out["add_bos_token"] = around.bos.has_value();
  out["add_eos_token"] = around.eos.has_value();
  out["clean_up_tokenization_spaces"] = false;
  out["sp_model_kwargs"] = Json::object();
  std::set<std::string_view> seen;
  for (auto piece = model->pieces.rbegin(); piece != model->pieces.rend(); ++piece) {
    const auto id = model->pieces.rend() - piece - 1;
    if (piece->type == SentencePieceModel::PieceType::kUnknown) out["unk_token"] = piece->text;
    if (seen.insert(piece->text).second) continue;
    piece->text = fmt::format("<duplicate {}>", id);
    piece->type = SentencePieceModel::PieceType::kUnused;
    seen.insert(piece->text);
  }
  const JsonField added = root.member("added_tokens");
  if (!added.is_null()) {
    for (const JsonField& token : added.items()) {
      const int64_t id = token.member("id").integer(0, INT32_MAX);
      out["added_tokens_decoder"][std::to_string(id)] = {
          {"content", token.member("content").string()},
          {"special", token.member("special").boolean(false)},
          {"normalized", false},
          {"lstrip", false},
          {"rstrip", false},
          {"single_word", false}};
    }
  }
  if (!error.empty()) return Error{error};
  return std::vector<std::pair<std::string, std::string>>{
      {"tokenizer.model", model->serialize()},
      {"tokenizer_config.json", out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"}};
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> tokenizer_folder_files(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  auto document = parse_json(tokenizer_json, "tokenizer.json", /*has_model=*/false);
  if (!document.ok()) return document.error();
  const Json& json = document->root;
  const auto model = json.is_object() ? json.find("model") : json.end();
  if (json.is_object() && model != json.end() && model->is_object() &&
      model->value("type", Json()) == "SentencePiece") {
    Json config;
    if (!tokenizer_config_json.empty()) {
      auto parsed = parse_json(tokenizer_config_json, "tokenizer_config.json", false);
      if (!parsed.ok()) return parsed.error();
      config = std::move(parsed->root);
    }
    return sentencepiece_files(json, config);
  }
  // Others refuse members that they do not know.
  document->root.erase("aliases");
  return std::vector<std::pair<std::string, std::string>>{
      {"tokenizer.json", to_line(document->root)},
      {"tokenizer_config.json", std::string(tokenizer_config_json)}};
}

}  // namespace tokenizer

namespace {

constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr const char* kMoreTemplates = "additional_chat_templates";
constexpr size_t kMaxTemplates = 100;  // models have four at most

// The last one of a name counts.
void set_template(ChatTemplates::Texts& templates, std::string name, std::string text) {
  for (auto& [other, source] : templates) {
    if (other != name) continue;
    source = std::move(text);
    return;
  }
  templates.emplace_back(std::move(name), std::move(text));
}

// A file's bytes; nullopt when it is not there.
Result<std::optional<std::string>> read_if_there(const std::string& folder, const char* name,
                                                 SourceFiles* sources) {
  auto text = read_source(folder + "/" + name, sources);
  if (!text.ok()) return Error{fmt::format("{}: {}", name, text.error().message)};
  if (*text && is_git_lfs_pointer(**text))
    return Error{fmt::format("{}: {}", name, git_lfs_advice)};
  return text;
}

}  // namespace

Result<TokenizerFiles> read_tokenizer(const std::string& folder, SourceFiles* sources) {
  TokenizerFiles files;
  tokenizer::SideFiles side;
  for (const auto& [name, to] : {std::pair("tokenizer_config.json", &side.config),
                                 std::pair("added_tokens.json", &side.added),
                                 std::pair("special_tokens_map.json", &side.special_map)}) {
    auto text = read_if_there(folder, name, sources);
    if (!text.ok()) return text.error();
    if (*text) *to = **std::move(text);
  }
  files.tokenizer_config_json = side.config;

  std::vector<std::string> failures;
  // What is said of the tokenizer.json that other files became, of those.
  const auto of_source = [](std::string why, std::string_view name) {
    constexpr std::pair<std::string_view, std::string_view> kSources[] = {
        {"tokenizer.json: model.proto cannot be used", "tokenizer.model"},
        {"tokenizer.json: model.vocab", "vocab.json:"},
        {"tokenizer.json: model.merges", "merges.txt:"},
        {"tokenizer.json: added_tokens", "added_tokens.json: entry "}};
    if (name == "tokenizer.json") return why;
    for (const auto& [place, source] : kSources)
      if (why.starts_with(place)) return why.replace(0, place.size(), source);
    return why.find(".json: ") != why.npos || why.starts_with(name)
               ? why
               : fmt::format("{}: {}", name, why);
  };
  // True if `json` loads and was taken. What it was made of is let go of before.
  const auto take = [&](const char* name, Result<std::string> json) {
    std::string why;
    if (!json.ok()) {
      why = json.error().message;
    } else if (auto loaded = Tokenizer::from_json(*json, side.config); !loaded.ok()) {
      why = loaded.error().message;
    } else {
      files.tokenizer_json = *std::move(json);
      files.tokenizer = *std::move(loaded);
      for (const std::string& failure : failures)
        files.notes.push_back(fmt::format("{}; using {} instead", failure, name));
      return true;
    }
    failures.push_back(of_source(std::move(why), name));
    return false;
  };

  auto json = read_if_there(folder, "tokenizer.json", sources);
  if (!json.ok()) return json.error();
  if (*json && take("tokenizer.json", **std::move(json))) return files;
  auto model = read_if_there(folder, "tokenizer.model", sources);
  if (!model.ok()) return model.error();
  if (*model) {
    auto imported = tokenizer::import_sentencepiece(**model, side);
    model->reset();
    if (take("tokenizer.model", std::move(imported))) return files;
  }
  auto vocab = read_if_there(folder, "vocab.json", sources);
  if (!vocab.ok()) return vocab.error();
  auto merges = read_if_there(folder, "merges.txt", sources);
  if (!merges.ok()) return merges.error();
  if (*vocab && *merges) {
    auto imported = tokenizer::import_vocab_merges(**vocab, **merges, side);
    vocab->reset();
    merges->reset();
    if (take("vocab.json", std::move(imported))) return files;
  }
  if (failures.empty()) return files;
  std::string message = "no tokenizer can be used: ";
  for (size_t i = 0; i < failures.size(); ++i) message += (i == 0 ? "" : "; ") + failures[i];
  return Error{message};
}

namespace {

// The templates of tokenizer_config.json: one, or a list with names.
Result<ChatTemplates::Texts> templates_of_config(std::string_view config) {
  ChatTemplates::Texts templates;
  if (config.empty()) return templates;
  const auto parsed = tokenizer::parse_json(config, kTokenizerConfig, /*has_model=*/false);
  if (!parsed.ok()) return parsed.error();
  std::string error;
  const tokenizer::JsonField root(&parsed->root, fmt::format("{}:", kTokenizerConfig), &error);
  const tokenizer::JsonField found = root.member("chat_template");
  if (found.is_string()) {
    templates.emplace_back("default", found.string());
  } else if (!found.is_null()) {
    if (found.array() != nullptr && found.value()->size() > kMaxTemplates)
      found.fail(fmt::format("has {} templates, at most {} are read", found.value()->size(),
                             kMaxTemplates));
    if (!error.empty()) return Error{error};
    for (const tokenizer::JsonField& entry : found.items())
      set_template(templates, entry.member("name").string(), entry.member("template").string());
  }
  if (!error.empty()) return Error{error};
  return templates;
}

// chat_template.jinja and additional_chat_templates/NAME.jinja.
Result<ChatTemplates::Texts> template_files(const std::string& folder, SourceFiles* sources) {
  ChatTemplates::Texts templates;
  auto source = read_if_there(folder, "chat_template.jinja", sources);
  if (!source.ok()) return source.error();
  if (*source) templates.emplace_back("default", **std::move(source));
  std::vector<std::string> names = names_in_folder(folder + "/" + kMoreTemplates);
  std::erase_if(names, [](const std::string& name) { return !name.ends_with(".jinja"); });
  if (names.size() > kMaxTemplates)
    return Error{fmt::format("{}: has {} templates, at most {} are read", kMoreTemplates,
                             names.size(), kMaxTemplates)};
  for (const std::string& name : names) {
    auto more = read_if_there(folder, fmt::format("{}/{}", kMoreTemplates, name).c_str(), sources);
    if (!more.ok()) return more.error();
    if (*more) set_template(templates, name.substr(0, name.size() - 6), **std::move(more));
  }
  return templates;
}

// The configuration with the tokens of special_tokens_map.json that it lacks: older folders have
// them there alone.
Result<std::string> with_special_tokens(std::string config, std::string_view special_map) {
  const auto map = tokenizer::parse_json(special_map, "special_tokens_map.json", false);
  if (!map.ok()) return map.error();
  if (!map->root.is_object()) return Error{"special_tokens_map.json: not a JSON object"};
  nlohmann::json root = nlohmann::json::object();
  if (!config.empty()) {
    auto parsed = tokenizer::parse_json(config, kTokenizerConfig, /*has_model=*/false);
    if (!parsed.ok()) return parsed.error();
    root = std::move(parsed->root);
    if (!root.is_object()) return config;  // whoever reads it says what it is
  }
  bool changed = false;
  for (const auto& [name, token] : map->root.items()) {
    if (!token.is_string() && !token.is_object() && !token.is_array()) continue;
    const auto found = root.find(name);
    if (found != root.end() && !found->is_null()) continue;
    root[name] = token;
    changed = true;
  }
  return changed ? to_line(root) : std::move(config);
}

}  // namespace

Result<TokenizerFiles> read_chat_template(const std::string& folder, SourceFiles* sources) {
  TokenizerFiles files;
  auto config = read_if_there(folder, kTokenizerConfig, sources);
  if (!config.ok()) return config.error();
  files.tokenizer_config_json = std::move(*config).value_or("");
  auto templates = templates_of_config(files.tokenizer_config_json);
  if (!templates.ok()) return templates.error();
  // Files come before what the configuration says.
  const auto more = template_files(folder, sources);
  if (!more.ok()) return more.error();
  for (const auto& [name, text] : *more) set_template(*templates, name, text);
  files.chat_template = ChatTemplates::to_text(*templates);

  const auto special_map = read_if_there(folder, "special_tokens_map.json", sources);
  if (!special_map.ok()) return special_map.error();
  if (!*special_map) return files;
  auto merged = with_special_tokens(std::move(files.tokenizer_config_json), **special_map);
  if (!merged.ok()) return merged.error();
  files.tokenizer_config_json = *std::move(merged);
  return files;
}

}  // namespace sinter::runtime
