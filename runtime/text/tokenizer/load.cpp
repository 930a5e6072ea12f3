// tokenizer.json to Model.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <optional>
#include <unordered_map>

#include "runtime/support/base64.h"
#include "runtime/text/tokenizer/model.h"

namespace sinter::runtime::tokenizer {
namespace {

// Where the tokens of added_tokens stand, for messages.
JsonField added_field(const JsonField& list, size_t index) {
  return {nullptr, fmt::format("{}[{}]", list.path(), index), list.error()};
}

void add_token(const JsonField& field, AddedToken token, Model* model) {
  if (field.failed() || token.content.empty()) return;
  const auto known = model->find_in_vocabulary(token.content);
  if (known && *known != token.id) {
    return field.fail(fmt::format("gives token '{}' the id {}, but model.vocab gives it {}",
                                  token.content, token.id, *known));
  }
  model->added_ids.add(token.content, token.id);
  model->added.push_back(std::move(token));
}

// A token that is there already gets the properties of the one that comes later.
void add_or_update(const JsonField& field, AddedToken token,
                   std::unordered_map<int32_t, size_t>* places, Model* model) {
  if (field.failed()) return;
  const auto known = model->added_ids.find(token.content);
  if (!known) {
    places->emplace(token.id, model->added.size());
    return add_token(field, std::move(token), model);
  }
  if (*known != token.id) {
    return field.fail(fmt::format("gives token '{}' the id {}, but it has the id {} already",
                                  token.content, token.id, *known));
  }
  if (const auto place = places->find(token.id); place != places->end())
    model->added[place->second] = std::move(token);
}

void read_added_tokens(std::optional<std::vector<AddedToken>> tokens, const JsonField& list,
                       const JsonField& config_map, Model* model) {
  if (!tokens && !list.is_null()) (void)list.array();
  std::unordered_map<int32_t, size_t> places;  // in model->added, by id
  if (tokens) {
    model->added.reserve(tokens->size());
    for (size_t i = 0; i < tokens->size() && !list.failed(); ++i)
      add_or_update(added_field(list, i), std::move((*tokens)[i]), &places, model);
  }
  if (config_map.is_null() || config_map.failed()) return;
  const Json* entries = config_map.object();
  if (entries == nullptr) return;
  for (const auto& [key, value] : entries->items()) {
    const JsonField field = config_map.member(key);
    if (field.failed()) return;
    AddedToken token = read_added_token(field);
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, token.id);
    if (parsed.ec != std::errc() || parsed.ptr != end || token.id < 0 || token.id > kMaxTokenId) {
      return field.fail(fmt::format("is not a token id; expected 0 to {}", kMaxTokenId));
    }
    add_or_update(field, std::move(token), &places, model);
  }
}

// A model of type SentencePiece: `base64` has the bytes of a tokenizer.model.
void read_sentencepiece(const JsonField& field, std::optional<std::string> base64, Model* model) {
  const JsonField proto = field.member("proto");
  if (!base64) {
    (void)proto.string();
    return;
  }
  auto bytes = from_base64(*base64);
  base64.reset();
  if (!bytes) return proto.fail("is not base64");
  auto parsed = SentencePieceModel::parse(*bytes);
  bytes.reset();
  if (!parsed.ok()) return proto.fail(fmt::format("cannot be used: {}", parsed.error().message));
  auto sentencepiece = SentencePiece::create(*std::move(parsed));
  if (!sentencepiece.ok())
    return proto.fail(fmt::format("cannot be used: {}", sentencepiece.error().message));
  model->sentencepiece = std::move(*sentencepiece);
  model->legacy = field.member("legacy").boolean(true);
  model->decoder.pieces = true;
  model->decoder.strip_all_spaces = model->sentencepiece->model().remove_extra_whitespaces;
  const auto& pieces = model->sentencepiece->model().pieces;
  for (size_t id = 0; id < pieces.size(); ++id)
    if (pieces[id].type == SentencePieceModel::PieceType::kControl)
      model->control_matcher.add(pieces[id].text, static_cast<int32_t>(id));
  model->control_matcher.finish();
}

// Calls put(token, id) for all tokens of the vocabulary.
template <class Put>
void each_token(const Model& model, Put put) {
  if (model.sentencepiece) {
    // Pieces may occur more than once.
    const auto& pieces = model.sentencepiece->model().pieces;
    for (size_t id = 0; id < pieces.size(); ++id)
      put(std::string_view(pieces[id].text), static_cast<int32_t>(id));
    return;
  }
  const TokenTable& vocabulary = model.words.vocabulary();
  for (size_t i = 0; i < vocabulary.size(); ++i) put(vocabulary.token(i), vocabulary.id(i));
}

// The tokens of all ids. Requires that model->added no longer changes.
void build_ids(const JsonField& root, const std::optional<TokenTable>& aliases, Model* model) {
  const JsonField vocab = root.member("model").member("vocab");
  int64_t highest = -1, count = 0;
  const auto see = [&](std::string_view, int32_t id) {
    highest = std::max<int64_t>(highest, id);
    ++count;
  };
  each_token(*model, see);
  for (const AddedToken& token : model->added) see(token.content, token.id);
  for (size_t i = 0; aliases && i < aliases->size(); ++i) see(aliases->token(i), aliases->id(i));
  // Published vocabularies leave a few ids unused; a table that is mostly unused is a broken file.
  if (highest >= 2 * count + 65536) {
    return vocab.fail(fmt::format("has {} tokens but ids up to {}; expected nearly all ids in use",
                                  count, highest));
  }
  model->ids.resize(static_cast<size_t>(highest + 1));
  each_token(*model, [&](std::string_view token, int32_t id) {
    IdEntry& entry = model->ids[static_cast<size_t>(id)];
    if (entry.used && entry.token != token) {
      vocab.fail(fmt::format("gives id {} to both '{}' and '{}'", id, std::min(token, entry.token),
                             std::max(token, entry.token)));
    }
    entry = {.token = token, .used = true};
    if (!model->sentencepiece) return;
    using PieceType = SentencePieceModel::PieceType;
    const PieceType type = model->sentencepiece->model().pieces[static_cast<size_t>(id)].type;
    entry.special = type == PieceType::kControl || type == PieceType::kUnknown;
  });
  for (size_t i = 0; i < model->added.size(); ++i) {
    const AddedToken& token = model->added[i];
    IdEntry& entry = model->ids[static_cast<size_t>(token.id)];
    if (entry.used && entry.token != token.content) {
      return root.member("added_tokens")
          .fail(fmt::format("gives token '{}' the id {}, which '{}' has", token.content, token.id,
                            entry.token));
    }
    entry = {.token = token.content,
             .added = static_cast<int32_t>(i),
             .used = true,
             .special = token.special};
  }
}

// Further ids of tokens, with which text is not encoded: see TokenLists::aliases.
void read_aliases(const std::optional<TokenTable>& aliases, const JsonField& field, Model* model) {
  if (!aliases && !field.is_null()) (void)field.array();
  if (!aliases || field.failed()) return;
  for (size_t i = 0; i < aliases->size(); ++i) {
    const auto id = static_cast<size_t>(aliases->id(i));
    const std::optional<int32_t> known = model->find_in_vocabulary(aliases->token(i));
    if (!known)
      return field.fail(fmt::format("gives token '{}' the id {}, but model.vocab has no such token",
                                    aliases->token(i), id));
    if (!model->ids[id].used) model->ids[id] = model->ids[static_cast<size_t>(*known)];
  }
}

void build_matchers(const JsonField& root, Model* model) {
  for (AddedToken& token : model->added) {
    if (!token.normalized) {
      model->raw_matcher.add(token.content, token);
      continue;
    }
    auto normalized = normalize(model->normalizer, {token.content});
    if (!normalized.ok()) return root.member("normalizer").fail(normalized.error().message);
    if (normalized->text.empty()) continue;
    if (normalized->text != token.content) token.normalized_content = std::move(normalized->text);
    model->normalized_matcher.add(
        token.normalized_content.empty() ? token.content : token.normalized_content, token);
  }
  model->raw_matcher.finish();
  model->normalized_matcher.finish();
}

// Messages quote the file; what they quote may have line breaks.
Error one_line(std::string message) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return Error{std::move(message)};
}

Result<std::shared_ptr<const Model>> load(std::string_view tokenizer_json,
                                          std::string_view tokenizer_config_json) {
  auto document = parse_json(tokenizer_json, "tokenizer.json", /*has_model=*/true);
  if (!document.ok()) return document.error();
  const Json json = std::move(document->root);
  auto added = std::move(document->added);
  const auto aliases = std::move(document->aliases);
  Json config;
  if (!tokenizer_config_json.empty()) {
    auto parsed = parse_json(tokenizer_config_json, "tokenizer_config.json", /*has_model=*/false);
    if (!parsed.ok()) return parsed.error();
    config = std::move(parsed->root);
  }

  std::string error;
  const JsonField root(&json, "tokenizer.json:", &error);
  const JsonField config_root(&config, "tokenizer_config.json:", &error);
  if (root.object() == nullptr) return Error{error};
  if (!tokenizer_config_json.empty() && config_root.object() == nullptr) return Error{error};
  const JsonField version = root.member("version");
  if (!version.is_null() && version.string() != "1.0")
    version.fail("is not 1.0, the only one known");

  auto model = std::make_shared<Model>();
  model->normalizer = read_normalizer(root.member("normalizer"));
  model->pre_tokenizer = read_pre_tokenizer(root.member("pre_tokenizer"));
  model->decoder = read_decoder(root.member("decoder"));
  const JsonField kind = root.member("model").member("type");
  if (root.failed()) return Error{error};
  if (kind.is_string() && kind.string() == "SentencePiece") {
    read_sentencepiece(root.member("model"), std::move(document->proto), model.get());
  } else {
    model->words = WordModel::read(root.member("model"), *std::move(document));
  }
  if (!root.failed()) {
    read_added_tokens(std::move(added), root.member("added_tokens"),
                      config_root.member("added_tokens_decoder"), model.get());
  }
  std::vector<AddedToken> ordered;
  ordered.reserve(model->added.size());
  for (const bool special : {true, false}) {
    for (AddedToken& token : model->added)
      if (token.special == special) ordered.push_back(std::move(token));
  }
  model->added = std::move(ordered);
  if (!root.failed()) build_ids(root, aliases, model.get());
  if (!root.failed()) read_aliases(aliases, root.member("aliases"), model.get());
  if (!root.failed()) build_matchers(root, model.get());
  if (!root.failed()) read_post_processor(root.member("post_processor"), config_root, model.get());
  if (root.failed()) return Error{error};
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace

std::optional<int32_t> Model::find_in_vocabulary(std::string_view token) const {
  if (!sentencepiece) return words.vocabulary().find(token);
  return sentencepiece->find(token);
}

std::optional<int32_t> Model::find(std::string_view token) const {
  const auto added_id = added_ids.find(token);
  return added_id ? added_id : find_in_vocabulary(token);
}

Result<std::shared_ptr<const Model>> load_model(std::string_view tokenizer_json,
                                                std::string_view tokenizer_config_json) {
  try {
    auto model = load(tokenizer_json, tokenizer_config_json);
    if (!model.ok()) return one_line(model.error().message);
    return model;
  } catch (const std::exception& e) {
    return one_line(fmt::format("tokenizer.json: cannot load: {}", e.what()));
  }
}

}  // namespace sinter::runtime::tokenizer
