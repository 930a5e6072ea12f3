// tokenizer.json to Model.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <iterator>
#include <limits>

#include "runtime/base64.h"
#include "runtime/tokenizer_model.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max() - 1;
constexpr int kMaxDepth = 8;  // of Sequence in Sequence
constexpr size_t kMaxTemplateIds = 1024;

// One entry of added_tokens or of added_tokens_decoder, without its id.
AddedToken read_added_token(const JsonField& field) {
  AddedToken token;
  token.content = field.member("content").string();
  token.special = field.member("special").boolean(false);
  token.normalized = field.member("normalized").boolean(!token.special);
  token.lstrip = field.member("lstrip").boolean(false);
  token.rstrip = field.member("rstrip").boolean(false);
  token.single_word = field.member("single_word").boolean(false);
  if (token.content.empty()) field.fail("has no content");
  return token;
}

void add_token(const JsonField& field, AddedToken token, Model* model) {
  if (field.failed()) return;
  const auto known = model->vocabulary().find(token.content);
  if (known != model->vocabulary().end() && known->second != token.id) {
    return field.fail(fmt::format("gives token '{}' the id {}, but model.vocab gives it {}",
                                  token.content, token.id, known->second));
  }
  if (!model->added_ids.emplace(token.content, token.id).second) {
    return field.fail(fmt::format("lists token '{}' a second time", token.content));
  }
  model->added.push_back(std::move(token));
}

void read_added_tokens(const JsonField& list, const JsonField& config_map, Model* model) {
  if (!list.is_null()) {
    const Json* entries = list.array();
    for (size_t i = 0; entries != nullptr && i < entries->size() && !list.failed(); ++i) {
      const JsonField field = list.item(i);
      AddedToken token = read_added_token(field);
      token.id = static_cast<int32_t>(field.member("id").integer(0, kMaxId));
      add_token(field, std::move(token), model);
    }
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
    if (parsed.ec != std::errc() || parsed.ptr != end || token.id < 0 || token.id > kMaxId) {
      return field.fail(fmt::format("is not a token id; expected 0 to {}", kMaxId));
    }
    const auto known = model->added_ids.find(token.content);
    if (known == model->added_ids.end()) {
      add_token(field, std::move(token), model);
    } else if (known->second != token.id) {
      return field.fail(fmt::format("is token '{}', to which tokenizer.json gives the id {}",
                                    token.content, known->second));
    }
  }
}

// A model of type SentencePiece: `proto` has the bytes of a tokenizer.model.
void read_sentencepiece(const JsonField& field, Model* model) {
  const JsonField proto = field.member("proto");
  auto bytes = from_base64(proto.string());
  if (field.failed()) return;
  if (!bytes) return proto.fail("is not base64");
  auto parsed = SentencePieceModel::parse(*bytes);
  bytes.reset();
  if (!parsed.ok()) return proto.fail(fmt::format("cannot be used: {}", parsed.error().message));
  auto sentencepiece = SentencePiece::create(*std::move(parsed));
  if (!sentencepiece.ok())
    return proto.fail(fmt::format("cannot be used: {}", sentencepiece.error().message));
  model->sentencepiece = std::move(*sentencepiece);
  model->legacy = field.member("legacy").boolean(true);
  model->decoder.kind = Decoder::Kind::kPieces;
  model->decoder.strip_all_spaces = model->sentencepiece->model().remove_extra_whitespaces;
  const auto& pieces = model->sentencepiece->model().pieces;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].type != SentencePieceModel::PieceType::kControl) continue;
    model->control.push_back(
        {.content = pieces[id].text, .id = static_cast<int32_t>(id), .special = true});
  }
  for (const AddedToken& token : model->control) model->control_matcher.add(token.content, &token);
}

// What the piece with this id decodes to. Added tokens keep their text.
void read_piece(const SentencePiece& sentencepiece, ptrdiff_t id, IdEntry* entry) {
  using PieceType = SentencePieceModel::PieceType;
  const SentencePieceModel& model = sentencepiece.model();
  entry->text = entry->token;
  const bool is_piece = id < static_cast<ptrdiff_t>(model.pieces.size());
  const auto type = is_piece ? model.pieces[static_cast<size_t>(id)].type : PieceType::kNormal;
  if (!is_piece || entry->added) return;
  entry->special = type == PieceType::kControl || type == PieceType::kUnknown;
  switch (type) {
    case PieceType::kControl:
      entry->text.clear();
      return;
    case PieceType::kUnknown:
      entry->text = model.unknown_surface;
      return;
    case PieceType::kByte:
      entry->byte = static_cast<int16_t>(fallback_byte(entry->token));
      return;
    default:
      break;
  }
  std::string text;
  std::string_view rest = entry->token;
  entry->space_prefix =
      rest.starts_with(kSpaceSymbol) && (model.add_dummy_prefix || model.remove_extra_whitespaces);
  while (!rest.empty()) {
    const bool space = rest.starts_with(kSpaceSymbol);
    text.push_back(space ? ' ' : rest.front());
    rest.remove_prefix(space ? kSpaceSymbol.size() : 1);
  }
  entry->text = replace_invalid_utf8(text);
}

// The ids of all tokens, and what each decodes to. Requires that model->added no longer changes.
void build_ids(const JsonField& root, Model* model) {
  const Vocabulary& vocabulary = model->vocabulary();
  int64_t highest = -1;
  for (const auto& [token, id] : vocabulary) highest = std::max<int64_t>(highest, id);
  // Pieces may occur more than once.
  const auto* pieces = model->sentencepiece ? &model->sentencepiece->model().pieces : nullptr;
  if (pieces != nullptr) highest = static_cast<int64_t>(pieces->size()) - 1;
  for (const AddedToken& token : model->added) highest = std::max<int64_t>(highest, token.id);
  const auto count = static_cast<int64_t>(vocabulary.size() + model->added.size());
  // Published vocabularies leave a few ids unused; a table that is mostly unused is a broken file.
  if (highest >= 2 * count + 65536) {
    return root.member("model").member("vocab").fail(fmt::format(
        "has {} tokens but ids up to {}; expected nearly all ids in use", count, highest));
  }
  model->ids.resize(static_cast<size_t>(highest + 1));
  for (const auto& [token, id] : vocabulary) {
    model->ids[id].used = true;
    model->ids[id].token = token;
  }
  for (size_t i = 0; pieces != nullptr && i < pieces->size(); ++i) {
    model->ids[i].used = true;
    model->ids[i].token = (*pieces)[i].text;
  }
  for (const AddedToken& token : model->added) {
    IdEntry& entry = model->ids[token.id];
    if (entry.used && entry.token != token.content) {
      return root.member("added_tokens")
          .fail(fmt::format("gives token '{}' the id {}, which '{}' has", token.content, token.id,
                            entry.token));
    }
    entry = {
        .used = true, .special = token.special, .added = true, .token = token.content, .text = {}};
  }
  for (IdEntry& entry : model->ids) {
    if (!entry.used) continue;
    if (model->sentencepiece) {
      read_piece(*model->sentencepiece, &entry - model->ids.data(), &entry);
      continue;
    }
    auto text = token_text(model->decoder, entry.token);
    if (!text.ok()) return root.member("decoder").fail(text.error().message);
    entry.text = std::move(*text);
    if (model->decoder.byte_fallback) {
      entry.byte = static_cast<int16_t>(fallback_byte(entry.text));
    }
  }
}

// Further ids of tokens, with which text is not encoded: see BpeParts::aliases.
void read_aliases(const JsonField& field, Model* model) {
  if (field.is_null() || field.failed()) return;
  for (const JsonField& pair : field.items()) {
    const auto items = pair.items();
    if (items.size() != 2) return pair.fail("is not [id, token]");
    const auto id = static_cast<size_t>(items[0].integer(0, kMaxId));
    const auto known = model->vocabulary().find(items[1].string());
    if (pair.failed()) return;
    if (known == model->vocabulary().end() || id > 2 * model->ids.size() + 65536)
      return pair.fail("is an id of no token");
    if (id >= model->ids.size()) model->ids.resize(id + 1);
    if (!model->ids[id].used) model->ids[id] = model->ids[static_cast<size_t>(known->second)];
  }
}

void build_matchers(const JsonField& root, Model* model) {
  for (const AddedToken& token : model->added) {
    if (!token.normalized) {
      model->raw_matcher.add(token.content, &token);
      continue;
    }
    auto normalized = normalize(model->normalizer, token.content);
    if (!normalized.ok()) return root.member("normalizer").fail(normalized.error().message);
    model->normalized_matcher.add(*normalized, &token);
  }
}

void read_template(const JsonField& field, Model* model) {
  const JsonField special_tokens = field.member("special_tokens");
  std::vector<int32_t> before, after;
  bool has_sequence = false;
  for (const JsonField& piece : field.member("single").items()) {
    const JsonField sequence = piece.member("Sequence");
    const JsonField special = piece.member("SpecialToken");
    if (!sequence.is_null()) {
      if (has_sequence || sequence.member("id").string() != "A") {
        return piece.fail("is not supported: a single template holds Sequence A once");
      }
      has_sequence = true;
    } else if (!special.is_null()) {
      const std::string name = special.member("id").string();
      for (const JsonField& id : special_tokens.member(name).member("ids").items()) {
        const int64_t value = id.integer(0, kMaxId);
        if (static_cast<size_t>(value) >= model->ids.size() || !model->ids[value].used) {
          return id.fail(fmt::format("is {}, which is no token's id", value));
        }
        (has_sequence ? after : before).push_back(static_cast<int32_t>(value));
      }
    } else {
      piece.fail("is neither a Sequence nor a SpecialToken");
    }
    if (piece.failed()) return;
  }
  if (!has_sequence) return field.member("single").fail("has no Sequence A");
  // A later processor wraps what the earlier ones made.
  model->template_prefix.insert(model->template_prefix.begin(), before.begin(), before.end());
  model->template_suffix.insert(model->template_suffix.end(), after.begin(), after.end());
  if (model->template_prefix.size() + model->template_suffix.size() > kMaxTemplateIds) {
    field.fail(fmt::format("adds more than {} tokens", kMaxTemplateIds));
  }
}

void read_post_processor(const JsonField& field, int depth, Model* model) {
  if (field.is_null() || field.failed()) return;
  const std::string type = field.member("type").string();
  if (type == "Sequence") {
    if (depth == kMaxDepth) return field.fail("nests Sequences too deeply");
    for (const JsonField& item : field.member("processors").items()) {
      read_post_processor(item, depth + 1, model);
    }
  } else if (type == "TemplateProcessing") {
    read_template(field, model);
  } else if (type != "ByteLevel") {  // ByteLevel adjusts offsets only, and ids have none
    field.fail(
        fmt::format("has type '{}', which is not supported (supported: ByteLevel, "
                    "TemplateProcessing, Sequence)",
                    type));
  }
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
    read_sentencepiece(root.member("model"), model.get());
  } else {
    model->bpe = Bpe::read(root.member("model"), std::move(*document));
  }
  if (!root.failed()) {
    read_added_tokens(root.member("added_tokens"), config_root.member("added_tokens_decoder"),
                      model.get());
  }
  std::vector<AddedToken> ordered;
  for (const bool special : {true, false}) {
    std::copy_if(model->added.begin(), model->added.end(), std::back_inserter(ordered),
                 [&](const AddedToken& token) { return token.special == special; });
  }
  model->added = std::move(ordered);
  if (!root.failed()) build_ids(root, model.get());
  if (!root.failed()) read_aliases(root.member("aliases"), model.get());
  if (!root.failed()) build_matchers(root, model.get());
  if (!root.failed()) read_post_processor(root.member("post_processor"), 0, model.get());
  if (root.failed()) return Error{error};
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace

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
