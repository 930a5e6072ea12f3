#include "runtime/text/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "runtime/text/tokenizer/model.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime {

using tokenizer::IdEntry;
using tokenizer::Segment;

namespace {

// Positions within a word are 32-bit, and the byte-level alphabet doubles a text at most.
constexpr size_t kMaxTextBytes = size_t{1} << 28;

// Words up to this many bytes are remembered within one call: natural text repeats its short words.
constexpr size_t kMaxCachedWord = 32;
constexpr size_t kMaxCachedWords = 1 << 18;

class WordEncoder {
 public:
  WordEncoder(const tokenizer::WordModel& model, std::vector<int32_t>* ids)
      : model_(model), ids_(*ids) {}

  Status encode(std::string_view word) {
    if (word.size() > kMaxCachedWord) return model_.encode(word, &ids_);
    if (const auto found = cache_.find(word); found != cache_.end()) {
      const auto [begin, count] = found->second;
      for (size_t i = 0; i < count; ++i) {
        const int32_t id = ids_[begin + i];
        ids_.push_back(id);
      }
      return Done{};
    }
    const size_t begin = ids_.size();
    if (Status status = model_.encode(word, &ids_); !status.ok()) return status;
    if (cache_.size() < kMaxCachedWords)
      cache_.emplace(std::string(word), std::pair(begin, ids_.size() - begin));
    return Done{};
  }

 private:
  const tokenizer::WordModel& model_;
  std::vector<int32_t>& ids_;
  // Where ids_ has the word.
  std::unordered_map<std::string, std::pair<size_t, size_t>, tokenizer::StringHash, std::equal_to<>>
      cache_;
};

}  // namespace

Result<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json,
                                       std::string_view tokenizer_config_json) {
  auto model = tokenizer::load_model(tokenizer_json, tokenizer_config_json);
  if (!model.ok()) return model.error();
  return Tokenizer(std::move(*model));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                               bool control_pieces) const {
  if (text.size() > kMaxTextBytes) {
    return Error{fmt::format("the text has {} bytes, at most {} can be encoded at once; split it",
                             text.size(), kMaxTextBytes)};
  }
  const std::string clean = tokenizer::replace_invalid_utf8(text);
  tokenizer::MatchBudget budget(clean.size());
  std::vector<int32_t> ids;
  WordEncoder words(model_->words, &ids);
  if (add_special_tokens) ids = model_->template_prefix;
  std::vector<Segment> segments;
  if (control_pieces && model_->sentencepiece) {
    auto parts = model_->control_matcher.split(clean);
    if (!parts.ok()) return parts.error();
    segments = *std::move(parts);
  } else {
    segments.push_back({-1, clean});
  }
  bool at_start = true;
  for (const Segment& part : segments) {
    if (part.is_token()) {
      ids.push_back(part.id);
      at_start = false;
      continue;
    }
    const auto raws = model_->raw_matcher.split(part.text);
    if (!raws.ok()) return raws.error();
    for (const Segment& raw : *raws) {
      if (raw.is_token()) {
        ids.push_back(raw.id);
        at_start = false;
        continue;
      }
      const bool begins_text = raw.text.data() == clean.data();
      auto normalized =
          tokenizer::normalize(model_->normalizer,
                               {.text = std::string(raw.text),
                                .origin = begins_text ? tokenizer::next_utf8(raw.text).length : 0},
                               &budget);
      if (!normalized.ok()) return normalized.error();
      const std::string_view whole = normalized->text;
      const auto pieces = model_->normalized_matcher.split(whole);
      if (!pieces.ok()) return pieces.error();
      for (const Segment& piece : *pieces) {
        if (piece.is_token()) {
          ids.push_back(piece.id);
          at_start = false;
          continue;
        }
        if (model_->sentencepiece) {
          const Status status =
              model_->sentencepiece->encode(piece.text, model_->legacy || at_start, &budget, &ids);
          if (!status.ok()) return status.error();
          at_start = false;
          continue;
        }
        const auto offset = static_cast<size_t>(piece.text.data() - whole.data());
        const auto pre_tokenized = tokenizer::pre_tokenize(
            model_->pre_tokenizer,
            {.text = std::string(piece.text),
             .origin = normalized->origin - std::min(normalized->origin, offset)},
            &budget);
        if (!pre_tokenized.ok()) return pre_tokenized.error();
        for (size_t i = 0; i < pre_tokenized->words.size(); ++i) {
          if (Status status = words.encode((*pre_tokenized)[i]); !status.ok())
            return status.error();
        }
      }
    }
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), model_->template_suffix.begin(), model_->template_suffix.end());
  }
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids,
                                      bool skip_special_tokens) const {
  StreamingDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) {
    text += decoder.push(id);
    if (Status status = decoder.status(); !status.ok()) return status.error();
  }
  text += decoder.flush();
  if (Status status = decoder.status(); !status.ok()) return status.error();
  return text;
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const { return model_->find(token); }

std::optional<std::string_view> Tokenizer::id_to_token(int32_t id) const {
  const IdEntry* entry = model_->entry_of(id);
  if (entry == nullptr) return std::nullopt;
  return entry->token;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(model_->ids.size()); }

bool Tokenizer::is_special(int32_t id) const {
  const IdEntry* entry = model_->entry_of(id);
  return entry != nullptr && entry->special;
}

}  // namespace sinter::runtime
