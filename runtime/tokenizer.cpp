#include "runtime/tokenizer.h"

#include <fmt/format.h>

#include <unordered_map>
#include <utility>

#include "runtime/tokenizer_model.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime {

using tokenizer::Decoder;
using tokenizer::IdEntry;
using tokenizer::Segment;
using tokenizer::Utf8Unit;

namespace {

// Positions within a word are 32-bit, and the byte-level alphabet doubles a text at most.
constexpr size_t kMaxTextBytes = size_t{1} << 28;

// Words up to this many bytes are remembered within one call: natural text repeats its short words.
constexpr size_t kMaxCachedWord = 32;

class WordEncoder {
 public:
  WordEncoder(const tokenizer::Bpe& bpe, std::vector<int32_t>* ids) : bpe_(bpe), ids_(*ids) {}

  void encode(std::string word) {
    if (word.size() > kMaxCachedWord) return bpe_.encode(word, &ids_);
    if (const auto found = cache_.find(word); found != cache_.end()) {
      const auto [begin, count] = found->second;
      for (size_t i = 0; i < count; ++i) {
        const int32_t id = ids_[begin + i];
        ids_.push_back(id);
      }
      return;
    }
    const size_t begin = ids_.size();
    bpe_.encode(word, &ids_);
    cache_.emplace(std::move(word), std::pair(begin, ids_.size() - begin));
  }

 private:
  const tokenizer::Bpe& bpe_;
  std::vector<int32_t>& ids_;
  std::unordered_map<std::string, std::pair<size_t, size_t>> cache_;  // where ids_ has the word
};

const IdEntry* entry_of(const tokenizer::Model& model, int32_t id) {
  if (id < 0 || static_cast<size_t>(id) >= model.ids.size() || !model.ids[id].used) return nullptr;
  return &model.ids[id];
}

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
  WordEncoder words(model_->bpe, &ids);
  if (add_special_tokens) ids = model_->template_prefix;
  std::vector<Segment> segments;
  for (const Segment& part : control_pieces ? model_->control_matcher.split(clean)
                                            : std::vector<Segment>{{nullptr, clean}}) {
    if (part.token != nullptr) {
      segments.push_back(part);
      continue;
    }
    for (const Segment& raw : model_->raw_matcher.split(part.text)) segments.push_back(raw);
  }
  bool at_start = true;
  for (const Segment& raw : segments) {
    if (raw.token != nullptr) {
      ids.push_back(raw.token->id);
      at_start = false;
      continue;
    }
    auto normalized = tokenizer::normalize(model_->normalizer, std::string(raw.text), &budget);
    if (!normalized.ok()) return normalized.error();
    for (const Segment& segment : model_->normalized_matcher.split(*normalized)) {
      if (segment.token != nullptr) {
        ids.push_back(segment.token->id);
        at_start = false;
        continue;
      }
      if (model_->sentencepiece) {
        const auto status =
            model_->sentencepiece->encode(segment.text, model_->legacy || at_start, &budget, &ids);
        if (!status.ok()) return status.error();
        at_start = false;
        continue;
      }
      auto pieces = tokenizer::pre_tokenize(model_->pre_tokenizer, std::string(segment.text),
                                            at_start, &budget);
      at_start = false;
      if (!pieces.ok()) return pieces.error();
      for (std::string& piece : *pieces) words.encode(std::move(piece));
    }
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), model_->template_suffix.begin(), model_->template_suffix.end());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  StreamingDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  text += decoder.flush();
  return text;
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  const auto added = model_->added_ids.find(token);
  if (added != model_->added_ids.end()) return added->second;
  const auto found = model_->vocabulary().find(token);
  if (found == model_->vocabulary().end()) return std::nullopt;
  return found->second;
}

std::optional<std::string_view> Tokenizer::id_to_token(int32_t id) const {
  const IdEntry* entry = entry_of(*model_, id);
  if (entry == nullptr) return std::nullopt;
  return entry->token;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(model_->ids.size()); }

bool Tokenizer::is_special(int32_t id) const {
  const IdEntry* entry = entry_of(*model_, id);
  return entry != nullptr && entry->special;
}

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : model_(tokenizer.model_),
      skip_special_tokens_(skip_special_tokens),
      strip_left_(model_->decoder.strip_count) {}

std::string StreamingDecoder::push(int32_t id) {
  const IdEntry* entry = entry_of(*model_, id);
  if (entry == nullptr || (skip_special_tokens_ && entry->special)) return {};
  switch (model_->decoder.kind) {
    case Decoder::Kind::kSpaced: {
      std::string text = first_ ? entry->text : " " + entry->text;
      first_ = false;
      return text;
    }
    case Decoder::Kind::kByteLevel: {
      pending_ += entry->text;
      std::string_view rest = pending_;
      std::string text;
      while (!rest.empty()) {
        const Utf8Unit unit = tokenizer::next_utf8(rest);
        if (unit.kind == Utf8Unit::Kind::kIncomplete) break;
        if (unit.kind == Utf8Unit::Kind::kValid) {
          text += rest.substr(0, unit.length);
        } else {
          text += tokenizer::kReplacementCharacter;
        }
        rest.remove_prefix(unit.length);
      }
      pending_ = std::string(rest);
      return text;
    }
    case Decoder::Kind::kText:
      if (entry->byte >= 0) {
        first_ = false;
        pending_.push_back(static_cast<char>(entry->byte));
        return {};
      }
      if (std::exchange(first_, false) && model_->decoder.drop_first_spaces && !entry->added) {
        std::string text = entry->text;
        std::erase(text, ' ');
        return text;
      }
      return strip_start(take_pending() + entry->text);
    case Decoder::Kind::kPieces: {
      if (entry->byte >= 0) {
        pending_.push_back(static_cast<char>(entry->byte));
        return take_bytes(/*all=*/false);
      }
      std::string text = take_bytes(/*all=*/true);
      if (!text.empty()) first_ = false;
      const bool strip = first_ && entry->space_prefix;
      text += strip ? entry->text.substr(1) : entry->text;
      if (!text.empty() || (strip && !model_->decoder.strip_all_spaces)) first_ = false;
      return text;
    }
  }
  return {};
}

std::string StreamingDecoder::flush() {
  std::string text =
      model_->decoder.kind == Decoder::Kind::kPieces ? take_bytes(/*all=*/true) : take_pending();
  if (model_->decoder.kind == Decoder::Kind::kText) text = strip_start(std::move(text));
  first_ = true;
  strip_left_ = model_->decoder.strip_count;
  return text;
}

std::string StreamingDecoder::take_pending() {
  std::string text;
  if (model_->decoder.kind == Decoder::Kind::kText && !tokenizer::is_valid_utf8(pending_)) {
    // Hugging Face's ByteFallback gives one U+FFFD for each byte of a run that is not UTF-8.
    for (size_t i = 0; i < pending_.size(); ++i) text += tokenizer::kReplacementCharacter;
  } else {
    text = tokenizer::replace_invalid_utf8(pending_);
  }
  pending_.clear();
  return text;
}

// The characters of the pending bytes; a byte that is of none becomes U+FFFD. Unless `all`, those
// that may be the start of a character stay.
std::string StreamingDecoder::take_bytes(bool all) {
  std::string_view rest = pending_;
  std::string text;
  while (!rest.empty()) {
    const Utf8Unit unit = tokenizer::next_utf8(rest);
    if (unit.kind == Utf8Unit::Kind::kIncomplete && !all) break;
    const bool valid = unit.kind == Utf8Unit::Kind::kValid;
    text += valid ? rest.substr(0, unit.length) : tokenizer::kReplacementCharacter;
    rest.remove_prefix(valid ? unit.length : 1);
  }
  pending_ = std::string(rest);
  if (!text.empty()) first_ = false;
  return text;
}

std::string StreamingDecoder::strip_start(std::string text) {
  const std::string& content = model_->decoder.strip_content;
  while (strip_left_ > 0 && !text.empty()) {
    if (text.starts_with(content)) {
      text.erase(0, content.size());
      --strip_left_;
    } else {
      strip_left_ = 0;
    }
  }
  return text;
}

}  // namespace sinter::runtime
