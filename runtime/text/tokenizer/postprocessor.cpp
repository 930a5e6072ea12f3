// What is put around the ids of a text.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/text/tokenizer/model.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr size_t kMaxTemplateIds = 1024;

int32_t read_id(const JsonField& field, const Model& model) {
  const int64_t id = field.integer(0, kMaxTokenId);
  if (field.failed()) return 0;
  if (static_cast<size_t>(id) >= model.ids.size() || !model.ids[static_cast<size_t>(id)].used)
    field.fail(fmt::format("is {}, which is not the id of a token", id));
  return static_cast<int32_t>(id);
}

// A later processor wraps what the earlier ones made.
void put_around(const JsonField& field, const std::vector<int32_t>& before,
                const std::vector<int32_t>& after, Model* model) {
  model->template_prefix.insert(model->template_prefix.begin(), before.begin(), before.end());
  model->template_suffix.insert(model->template_suffix.end(), after.begin(), after.end());
  if (model->template_prefix.size() + model->template_suffix.size() > kMaxTemplateIds)
    field.fail(fmt::format("adds more than {} tokens", kMaxTemplateIds));
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
      for (const JsonField& id : special_tokens.member(name).member("ids").items())
        (has_sequence ? after : before).push_back(read_id(id, *model));
    } else {
      piece.fail("is neither a Sequence nor a SpecialToken");
    }
    if (piece.failed()) return;
  }
  if (!has_sequence) return field.member("single").fail("has no Sequence A");
  put_around(field, before, after, model);
}

// BertProcessing and RobertaProcessing: "cls" before and "sep" behind, each ["token", id].
void read_cls_sep(const JsonField& field, Model* model) {
  std::vector<int32_t> ids;
  for (const char* name : {"cls", "sep"}) {
    const JsonField pair = field.member(name);
    if (pair.array() == nullptr) return;
    if (pair.items().size() != 2) return pair.fail("is not [\"token\", id]");
    ids.push_back(read_id(pair.item(1), *model));
  }
  if (!field.failed()) put_around(field, {ids[0]}, {ids[1]}, model);
}

void read_processor(const JsonField& field, int depth, Model* model) {
  if (field.is_null() || field.failed()) return;
  const std::string type = field.member("type").string();
  if (type == "Sequence") {
    if (depth == kMaxSequenceDepth) return field.fail("nests Sequences too deeply");
    for (const JsonField& item : field.member("processors").items()) {
      read_processor(item, depth + 1, model);
    }
  } else if (type == "TemplateProcessing") {
    read_template(field, model);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    read_cls_sep(field, model);
  } else if (type != "ByteLevel") {  // ByteLevel adjusts offsets only, and ids have none
    field.fail(
        fmt::format("has type '{}', which is not supported (supported: ByteLevel, "
                    "TemplateProcessing, BertProcessing, RobertaProcessing, Sequence)",
                    type));
  }
}

// Classes of transformers 4 that replace the post_processor by BOS and EOS as add_bos_token and
// add_eos_token say. PreTrainedTokenizerFast and all others leave it as it is.
struct RebuildingClass {
  std::string_view name;
  bool add_bos;  // unless tokenizer_config.json says otherwise; EOS is never added then
  std::string_view bos, eos;  // likewise
};
constexpr RebuildingClass kRebuildingClasses[] = {
    {"LlamaTokenizer", true, "<s>", "</s>"},
    {"CodeLlamaTokenizer", true, "<s>", "</s>"},
    {"GemmaTokenizer", true, "<bos>", "<eos>"},
    {"CohereTokenizer", true, "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"},
    {"GPTNeoXTokenizer", false, "<|endoftext|>", "<|endoftext|>"},
};

const RebuildingClass* find_rebuilding_class(const JsonField& config) {
  if (config.is_null()) return nullptr;
  const std::string name = class_of(*config.value());
  const auto* const found =
      std::find_if(std::begin(kRebuildingClasses), std::end(kRebuildingClasses),
                   [&](const auto& known) { return known.name == name; });
  return found == std::end(kRebuildingClasses) ? nullptr : found;
}

// The token that flag `add` asks for: none, or the one that `token` names.
std::vector<int32_t> read_end_token(const JsonField& add, bool adds_by_itself,
                                    const JsonField& token, std::string_view usual,
                                    const Model& model) {
  if (!add.boolean(adds_by_itself) || add.failed()) return {};
  std::string text(usual);
  if (token.is_string()) {
    text = token.string();
  } else if (!token.is_null()) {
    text = token.member("content").string();
  }
  if (token.failed()) return {};
  if (const auto id = model.find(text)) return {*id};
  // What nobody has asked for may be missing.
  if (!add.is_null() || !token.is_null())
    token.fail(fmt::format("is '{}', which is not a token of the vocabulary", text));
  return {};
}

}  // namespace

void read_post_processor(const JsonField& post_processor, const JsonField& config, Model* model) {
  const RebuildingClass* rebuilding = find_rebuilding_class(config);
  // What is made of a tokenizer.model has its BOS and EOS already.
  if (rebuilding == nullptr || model->sentencepiece)
    return read_processor(post_processor, 0, model);
  model->template_prefix = read_end_token(config.member("add_bos_token"), rebuilding->add_bos,
                                          config.member("bos_token"), rebuilding->bos, *model);
  model->template_suffix = read_end_token(config.member("add_eos_token"), false,
                                          config.member("eos_token"), rebuilding->eos, *model);
}

}  // namespace sinter::runtime::tokenizer
