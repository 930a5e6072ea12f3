#include "models/end_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "frontends/json_file.h"
#include "runtime/text/tokenizer/tokenizer.h"

namespace sinter::models {

namespace {

using frontends::Json;

// Texts that llama.cpp takes for ends of generation (src/llama-vocab.cpp). With the last three
// kinds a model of code goes on in another place or file.
constexpr std::array<std::string_view, 31> kEndTexts = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
    "<PAD>",
    "[PAD]",
};

// A text that ends nothing in vocabularies that have the two others as well: there it ends a
// message, after which the same answer goes on.
struct NoEnd {
  std::string_view text;
  std::array<std::string_view, 2> beside;
};
constexpr std::array<NoEnd, 3> kNoEnds = {{
    {"<|end|>", {"<|return|>", "<|call|>"}},
    {"<|end|>", {"<|calls|>", "<|flush|>"}},
    {"</s>", {"<|tool_response>", "<|tool_response>"}},
}};

class Finder {
 public:
  Finder(const frontends::Checkpoint* checkpoint, int64_t vocab_size)
      : checkpoint_(checkpoint), vocab_size_(vocab_size) {
    if (checkpoint == nullptr || checkpoint->tokenizer_json.empty()) return;
    auto loaded = runtime::Tokenizer::from_json(checkpoint->tokenizer_json,
                                                checkpoint->tokenizer_config_json);
    if (loaded.ok()) tokenizer_ = *std::move(loaded);
  }

  absl::Status add_ids(const Config& config) {
    for (const char* field : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
      const Json* value = config.find(field);
      if (value == nullptr) continue;
      if (!value->is_array()) {
        if (absl::Status status = add_id(config, field, *value); !status.ok()) return status;
        continue;
      }
      for (size_t i = 0; i < value->size(); ++i) {
        const std::string path = fmt::format("{}.{}", field, i);
        if (absl::Status status = add_id(config, path, (*value)[i]); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  // The token that transformers ends a text with.
  void add_eos_token() {
    if (!tokenizer_ || checkpoint_->tokenizer_config_json.empty()) return;
    std::vector<std::string> unused;
    const auto config =
        frontends::parse_json(checkpoint_->tokenizer_config_json, "tokenizer_config.json", &unused);
    if (!config.ok()) return;
    const Json* token = frontends::find_field(*config, "eos_token");
    // Some are written with how they match in text.
    if (token != nullptr && token->is_object()) token = frontends::find_field(*token, "content");
    if (token == nullptr || !token->is_string()) return;
    if (const auto id = tokenizer_->find(token->get_ref<const std::string&>()); id)
      add(*id, "eos_token of tokenizer_config.json");
  }

  void add_known_texts() {
    if (!tokenizer_) return;
    for (const std::string_view text : kEndTexts) {
      const bool ends = std::none_of(kNoEnds.begin(), kNoEnds.end(), [&](const NoEnd& row) {
        return row.text == text && special(row.beside[0]) && special(row.beside[1]);
      });
      if (const auto id = special(text); id && ends) add(*id, "the text of a control token");
    }
  }

  std::vector<EndToken> take() { return std::move(ends_); }

 private:
  absl::Status add_id(const Config& config, std::string_view path, const Json& value) {
    if (!value.is_number_integer())
      return config.refuse(path,
                           fmt::format("is {}, expected a token id", frontends::describe(value)));
    // An integer beyond 63 bits is stored unsigned.
    const bool fits = !value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX;
    const int64_t id = fits ? value.get<int64_t>() : -1;
    if (id < 0 || id >= vocab_size_) {
      config.note(fmt::format("{} is {}, but the vocabulary has {} tokens; it is ignored",
                              config.name(path), frontends::describe(value), vocab_size_));
      return absl::OkStatus();
    }
    add(static_cast<int32_t>(id), fmt::format("{} of {}", config.shown(path), config.file()));
    return absl::OkStatus();
  }

  void add(int32_t id, std::string source) {
    const auto same = [&](const EndToken& end) { return end.id == id; };
    if (id >= vocab_size_ || std::any_of(ends_.begin(), ends_.end(), same)) return;
    const auto text = tokenizer_ ? tokenizer_->id_to_token(id) : std::nullopt;
    ends_.push_back({id, std::string(text.value_or("")), std::move(source)});
  }

  std::optional<int32_t> special(std::string_view text) const {
    const auto id = tokenizer_->find(text);
    return id && tokenizer_->is_special(*id) ? id : std::nullopt;
  }

  const frontends::Checkpoint* checkpoint_;
  int64_t vocab_size_;
  std::optional<runtime::Tokenizer> tokenizer_;
  std::vector<EndToken> ends_;
};

}  // namespace

absl::StatusOr<std::vector<EndToken>> find_end_tokens(std::span<const Config> configs,
                                                      const frontends::Checkpoint* checkpoint,
                                                      int64_t vocab_size) {
  Finder finder(checkpoint, vocab_size);
  for (const Config& config : configs)
    if (absl::Status status = finder.add_ids(config); !status.ok()) return status;
  finder.add_eos_token();
  finder.add_known_texts();
  return finder.take();
}

}  // namespace sinter::models
