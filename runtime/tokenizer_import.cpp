#include "runtime/tokenizer_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <tuple>

#include "runtime/base64.h"
#include "runtime/chat_template.h"
#include "runtime/folder.h"
#include "runtime/git_lfs.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer_json.h"
#include "runtime/tokenizer_sentencepiece.h"
#include "runtime/tokenizer_utf8.h"

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

Json added_token(const std::string& content, int64_t id, bool special) {
  return {{"id", id}, {"content", content}, {"special", special}, {"normalized", false}};
}

std::string one_line_json(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The side files, parsed and checked.
class Side {
 public:
  static Result<Side> read(const SideFiles& files) {
    Side side;
    for (const auto& [text, name, to] :
         {std::tuple(&files.config, "tokenizer_config.json", &side.config_),
          std::tuple(&files.added, "added_tokens.json", &side.added_),
          std::tuple(&files.special_map, "special_tokens_map.json", &side.special_map_)}) {
      *to = Json::object();
      if (text->empty()) continue;
      auto parsed = parse_json(*text, name, /*has_model=*/false);
      if (!parsed.ok()) return parsed.error();
      if (!parsed->root.is_object()) return Error{fmt::format("{}: is not a JSON object", name)};
      *to = std::move(parsed->root);
    }
    for (const auto& [content, id] : side.added_.items()) {
      if (id.is_number_unsigned() && id.get<uint64_t>() < (uint64_t{1} << 31) - 1) continue;
      return Error{fmt::format("added_tokens.json: gives token '{}' the id {}, expected an integer",
                               content, one_line_json(id))};
    }
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
  std::set<std::string> special_tokens() const {
    std::set<std::string> tokens;
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
  Json added_tokens() const {
    std::set<std::string> described;
    if (const auto decoder = config_.find("added_tokens_decoder");
        decoder != config_.end() && decoder->is_object()) {
      for (const auto& [id, token] : decoder->items())
        if (const auto content = content_of(token)) described.insert(*content);
    }
    const std::set<std::string> special = special_tokens();
    Json tokens = Json::array();
    for (const auto& [content, id] : added_.items()) {
      if (!described.contains(content))
        tokens.push_back(added_token(content, id.get<int64_t>(), special.contains(content)));
    }
    return tokens;
  }
  // The id of an added token, of either file.
  std::optional<int32_t> added_id(const std::string& content) const {
    if (const auto found = added_.find(content); found != added_.end())
      return found->get<int32_t>();
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
  std::string tokenizer_class() const {
    const auto found = config_.find("tokenizer_class");
    std::string name =
        found != config_.end() && found->is_string() ? found->get<std::string>() : "";
    if (name.ends_with("Fast")) name.erase(name.size() - 4);
    return name;
  }

 private:
  static std::optional<std::string> content_of(const Json& token) {
    if (token.is_string()) return token.get<std::string>();
    if (!token.is_object()) return std::nullopt;
    const auto content = token.find("content");
    if (content == token.end() || !content->is_string()) return std::nullopt;
    return content->get<std::string>();
  }

  Json config_, added_, special_map_;
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

std::string json_string(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string added_token_json(std::string_view content, int64_t id, bool special) {
  return fmt::format(R"({{"id":{},"content":{},"special":{},"normalized":false}})", id,
                     json_string(content), special);
}

std::string bpe_json(const BpeParts& parts, const Around& around) {
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
  std::string json = R"({"version":"1.0","added_tokens":)" + parts.added_tokens;
  for (const auto& [name, stage] : stages.items())
    json += fmt::format(R"(,"{}":{})", name, one_line_json(stage));
  if (!parts.aliases.empty()) json += R"(,"aliases":)" + parts.aliases;
  json += fmt::format(R"(,"model":{{"type":"BPE","ignore_merges":{},"byte_fallback":{},"vocab":)",
                      parts.split.ignore_merges, parts.split.alphabet == Alphabet::kSpaceSymbols);
  json.append(parts.vocab).append(R"(,"merges":)").append(parts.merges).append("}}");
  return json;
}

std::string sentencepiece_json(std::string_view model, std::string_view added_tokens, bool legacy,
                               const Around& around) {
  return fmt::format(
      R"({{"version":"1.0","added_tokens":{},"post_processor":{},"model":{{"type":"SentencePiece",)"
      R"("legacy":{},"proto":"{}"}}}})",
      added_tokens, one_line_json(around_json(around)), legacy, to_base64(model));
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
  return sentencepiece_json(bytes, one_line_json(side->added_tokens()), side->flag("legacy", true),
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
  auto parsed = parse_json(vocab, "vocab.json", /*has_model=*/false);
  if (!parsed.ok()) return parsed.error();
  if (!parsed->root.is_object()) return Error{"vocab.json: is not a JSON object"};
  const Json tokens = std::move(parsed->root);
  parts.vocab = vocab;
  Json pairs = Json::array();
  const std::string text = replace_invalid_utf8(merges);
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) pairs.push_back(line);
  }
  parts.add_prefix_space = name != "Qwen2Tokenizer" && side->flag("add_prefix_space", false);

  const auto find = [&](const std::string& token) -> std::optional<int32_t> {
    const auto found = tokens.find(token);
    if (found == tokens.end() || !found->is_number_unsigned() ||
        found->get<uint64_t>() >= (uint64_t{1} << 31) - 1)
      return std::nullopt;
    return found->get<int32_t>();
  };
  parts.merges = one_line_json(pairs);
  Json added = side->added_tokens();
  // Special tokens may stand in vocab.json alone, as GPT-2's own does.
  std::set<std::string> special = side->special_tokens();
  special.insert("<|endoftext|>");
  for (const std::string& token : special) {
    if (token.empty() || side->added_id(token)) continue;
    if (const auto id = find(token)) added.push_back(added_token(token, *id, true));
  }
  parts.added_tokens = one_line_json(added);
  Around around;
  for (const auto& [flag, token, id] : {std::tuple("add_bos_token", "bos_token", &around.bos),
                                        std::tuple("add_eos_token", "eos_token", &around.eos)}) {
    if (!side->flag(flag, false)) continue;
    auto found = named_id(*side, token, find);
    if (!found.ok()) return found.error();
    *id = *found;
  }
  return bpe_json(parts, around);
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
      {"tokenizer.json", one_line_json(document->root)},
      {"tokenizer_config.json", std::string(tokenizer_config_json)}};
}

}  // namespace tokenizer

namespace {

// A file's bytes; nullopt when it is not there.
constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr const char* kMoreTemplates = "additional_chat_templates";

// The last one of a name counts.
void set_template(ChatTemplates::Texts& templates, std::string name, std::string text) {
  for (auto& [other, source] : templates) {
    if (other != name) continue;
    source = std::move(text);
    return;
  }
  templates.emplace_back(std::move(name), std::move(text));
}

Result<std::optional<std::string>> read_if_there(const std::string& folder, const char* name) {
  errno = 0;
  std::ifstream in(folder + "/" + name, std::ios::binary);
  if (!in) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<std::string>();
    return Error{fmt::format("{}: cannot be read: {}", name, std::strerror(errno))};
  }
  std::string text;
  // Not by iterators: they take longer than the parser.
  for (std::array<char, 1 << 16> block; in.read(block.data(), block.size()), in.gcount() > 0;)
    text.append(block.data(), static_cast<size_t>(in.gcount()));
  if (in.bad()) return Error{fmt::format("{}: cannot be read", name)};
  if (is_git_lfs_pointer(text)) return Error{fmt::format("{}: {}", name, git_lfs_advice)};
  return std::optional(std::move(text));
}

}  // namespace

Result<TokenizerFiles> read_tokenizer(const std::string& folder) {
  TokenizerFiles files;
  tokenizer::SideFiles side;
  for (const auto& [name, to] : {std::pair("tokenizer_config.json", &side.config),
                                 std::pair("added_tokens.json", &side.added),
                                 std::pair("special_tokens_map.json", &side.special_map)}) {
    auto text = read_if_there(folder, name);
    if (!text.ok()) return text.error();
    if (*text) *to = **std::move(text);
  }
  files.tokenizer_config_json = side.config;

  std::vector<std::string> failures;
  // True if `json` loads and was taken.
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
    failures.push_back(fmt::format("{} cannot be used ({})", name, why));
    return false;
  };

  auto json = read_if_there(folder, "tokenizer.json");
  if (!json.ok()) return json.error();
  if (*json && take("tokenizer.json", **std::move(json))) return files;
  auto model = read_if_there(folder, "tokenizer.model");
  if (!model.ok()) return model.error();
  if (*model && take("tokenizer.model", tokenizer::import_sentencepiece(**model, side)))
    return files;
  auto vocab = read_if_there(folder, "vocab.json");
  if (!vocab.ok()) return vocab.error();
  auto merges = read_if_there(folder, "merges.txt");
  if (!merges.ok()) return merges.error();
  if (*vocab && *merges &&
      take("vocab.json", tokenizer::import_vocab_merges(**vocab, **merges, side)))
    return files;
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
    for (const tokenizer::JsonField& entry : found.items())
      set_template(templates, entry.member("name").string(), entry.member("template").string());
  }
  if (!error.empty()) return Error{error};
  return templates;
}

// chat_template.jinja and additional_chat_templates/NAME.jinja.
Result<ChatTemplates::Texts> template_files(const std::string& folder) {
  ChatTemplates::Texts templates;
  auto source = read_if_there(folder, "chat_template.jinja");
  if (!source.ok()) return source.error();
  if (*source) templates.emplace_back("default", **std::move(source));
  for (const std::string& name : names_in_folder(folder + "/" + kMoreTemplates)) {
    if (std::filesystem::path(name).extension() != ".jinja") continue;
    auto more = read_if_there(folder, fmt::format("{}/{}", kMoreTemplates, name).c_str());
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
  return changed ? root.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                 : std::move(config);
}

}  // namespace

Result<TokenizerFiles> read_chat_template(const std::string& folder) {
  TokenizerFiles files;
  auto config = read_if_there(folder, kTokenizerConfig);
  if (!config.ok()) return config.error();
  files.tokenizer_config_json = std::move(*config).value_or("");
  auto templates = templates_of_config(files.tokenizer_config_json);
  if (!templates.ok()) return templates.error();
  // Files come before what the configuration says.
  const auto more = template_files(folder);
  if (!more.ok()) return more.error();
  for (const auto& [name, text] : *more) set_template(*templates, name, text);
  files.chat_template = ChatTemplates::to_text(*templates);

  const auto special_map = read_if_there(folder, "special_tokens_map.json");
  if (!special_map.ok()) return special_map.error();
  if (!*special_map) return files;
  auto merged = with_special_tokens(std::move(files.tokenizer_config_json), **special_map);
  if (!merged.ok()) return merged.error();
  files.tokenizer_config_json = *std::move(merged);
  return files;
}

}  // namespace sinter::runtime
