#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/support/base64.h"
#include "runtime/text/tokenizer/characters.h"
#include "runtime/text/tokenizer/normal_form.h"
#include "runtime/text/tokenizer/stages.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using NormalizerKind = NormalizerStep::Kind;

constexpr size_t kMaxNormalizerSteps = 40;  // in all
// NFKD expands one character to 18 at most; the rest is for short texts with long prefixes.
constexpr size_t kMaxNormalizerGrowth = 32;
constexpr size_t kMaxNormalizerGrowthBase = 1 << 20;

// Those without options.
constexpr std::array<std::pair<std::string_view, NormalizerKind>, 8> kPlainKinds = {{
    {"NFC", NormalizerKind::kNfc},
    {"NFD", NormalizerKind::kNfd},
    {"NFKC", NormalizerKind::kNfkc},
    {"NFKD", NormalizerKind::kNfkd},
    {"Lowercase", NormalizerKind::kLowercase},
    {"Nmt", NormalizerKind::kNmt},
    {"StripAccents", NormalizerKind::kStripAccents},
    {"ByteLevel", NormalizerKind::kByteLevel},
}};

void read_bert(const JsonField& field, std::vector<NormalizerStep>* steps) {
  const bool lowercase = field.member("lowercase").boolean(true);
  if (field.member("clean_text").boolean(true)) steps->push_back({NormalizerKind::kBertClean});
  if (field.member("handle_chinese_chars").boolean(true))
    steps->push_back({NormalizerKind::kBertCjk});
  if (field.member("strip_accents").boolean(lowercase)) {
    steps->push_back({NormalizerKind::kNfd});
    steps->push_back({NormalizerKind::kStripNonspacing});
  }
  if (lowercase) steps->push_back({NormalizerKind::kLowercase});
}

void read_precompiled(const JsonField& field, std::vector<NormalizerStep>* steps) {
  const JsonField table = field.member("precompiled_charsmap");
  const auto bytes = from_base64(table.string());
  if (field.failed()) return;
  if (!bytes) return table.fail("is not base64");
  auto charsmap = Charsmap::parse(*bytes);
  if (!charsmap.ok())
    return table.fail(fmt::format("cannot be used: {}", charsmap.error().message));
  steps->push_back({.kind = NormalizerKind::kPrecompiled,
                    .charsmap = std::make_shared<const Charsmap>(*std::move(charsmap))});
}

void read_steps(const JsonField& field, int depth, std::vector<NormalizerStep>* steps) {
  if (field.is_null() || field.failed()) return;
  const std::string type = field.member("type").string();
  if (field.failed()) return;
  if (type == "Sequence") {
    if (depth == kMaxSequenceDepth) return field.fail("nests Sequences too deeply");
    for (const JsonField& item : field.member("normalizers").items()) {
      read_steps(item, depth + 1, steps);
    }
    return;
  }
  if (steps->size() + 4 > kMaxNormalizerSteps) return field.fail("has too many steps");
  const auto plain = std::find_if(kPlainKinds.begin(), kPlainKinds.end(),
                                  [&](const auto& known) { return known.first == type; });
  if (plain != kPlainKinds.end()) {
    steps->push_back({plain->second});
  } else if (type == "Prepend") {
    steps->push_back(
        {.kind = NormalizerKind::kPrepend, .content = field.member("prepend").string()});
  } else if (type == "Replace") {
    auto pattern = field.member("pattern").pattern();
    if (!pattern.ok()) return;
    steps->push_back({.kind = NormalizerKind::kReplace,
                      .content = field.member("content").string(),
                      .pattern = {*pattern}});
  } else if (type == "Strip") {
    steps->push_back({.kind = NormalizerKind::kStrip,
                      .strip_left = field.member("strip_left").boolean(true),
                      .strip_right = field.member("strip_right").boolean(true)});
  } else if (type == "BertNormalizer") {
    read_bert(field, steps);
  } else if (type == "Precompiled") {
    read_precompiled(field, steps);
  } else {
    std::string known;
    for (const auto& [name, kind] : kPlainKinds) known += fmt::format("{}, ", name);
    field.fail(
        fmt::format("has type '{}', which is not supported (supported: {}Prepend, Replace, Strip, "
                    "BertNormalizer, Precompiled, Sequence)",
                    type, known));
  }
}

// `put` appends what a character becomes.
template <class Put>
Text map_characters(const Text& in, Put put) {
  Text out;
  out.text.reserve(in.text.size());
  for (size_t at = 0; at < in.text.size();) {
    const Utf8Unit unit = next_utf8(std::string_view(in.text).substr(at));
    put(unit.code_point, &out.text);
    if (at < in.origin) out.origin = out.text.size();
    at += unit.length;
  }
  return out;
}

void put_lowercase(uint32_t c, std::string* out) {
  if (c == 0x130) {
    // Capital I with dot: the one character whose lowercase is two (SpecialCasing.txt).
    *out += "i\xCC\x87";
  } else {
    append_utf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
  }
}

// SentencePiece's rules for machine translation: controls go, odd white space becomes a space.
void put_nmt(uint32_t c, std::string* out) {
  const bool gone = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                    c == 0x7F || c == 0x8F || c == 0x9F;
  const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
  if (!gone) append_utf8(space ? ' ' : c, out);
}

void put_bert_clean(uint32_t c, std::string* out) {
  const bool line_white = c == '\t' || c == '\n' || c == '\r';
  if (c == 0 || c == 0xFFFD || (is_other(c) && !line_white)) return;
  append_utf8(line_white || is_white_space(c) ? ' ' : c, out);
}

void put_cjk_apart(uint32_t c, std::string* out) {
  if (is_cjk(c)) out->push_back(' ');
  append_utf8(c, out);
  if (is_cjk(c)) out->push_back(' ');
}

Text strip(Text in, bool left, bool right) {
  std::string_view text = in.text;
  while (left && !text.empty()) {
    const Utf8Unit unit = next_utf8(text);
    if (!is_white_space(unit.code_point)) break;
    text.remove_prefix(unit.length);
    in.origin -= std::min(in.origin, unit.length);
  }
  while (right && !text.empty()) {
    const uint32_t code_point = last_code_point(text);
    if (!is_white_space(code_point)) break;
    text.remove_suffix(code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : 3);
  }
  return {std::string(text), std::min(in.origin, text.size())};
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

// The bytes of the first `count` characters.
size_t length_of_characters(std::string_view text, size_t count) {
  size_t length = 0;
  for (; count > 0 && length < text.size(); --count)
    length += next_utf8(text.substr(length)).length;
  return length;
}

Text to_unicode_form(const Text& in, NormalizerKind kind) {
  const bool compose = kind == NormalizerKind::kNfc || kind == NormalizerKind::kNfkc;
  const bool compat = kind == NormalizerKind::kNfkc || kind == NormalizerKind::kNfkd;
  Text out{normal_form(in.text, compose, compat)};
  if (in.origin == 0) return out;
  // As many characters as the first one gives by itself, though marks behind it may join it.
  const std::string first =
      normal_form(std::string_view(in.text).substr(0, in.origin), compose, compat);
  out.origin = length_of_characters(out.text, count_characters(first));
  return out;
}

Result<Text> replace(const NormalizerStep& step, const Text& in, size_t limit,
                     MatchBudget* budget) {
  auto spans = step.pattern[0].find_all(in.text, budget);
  if (!spans.ok()) return spans.error();
  Text out;
  for (const Span& span : *spans) {
    if (span.is_match) {
      out.text += step.content;
      // What comes in belongs to the last byte that goes, or that was before it.
      if (in.origin > 0 && span.end <= in.origin) out.origin = out.text.size();
    } else {
      out.text.append(in.text, span.begin, span.end - span.begin);
      if (span.begin < in.origin)
        out.origin = out.text.size() - (std::max(span.end, in.origin) - in.origin);
    }
    if (out.text.size() > limit) break;
  }
  return out;
}

// SentencePiece's table as Hugging Face applies it: to clusters of up to five bytes as a whole
// where any entry is their beginning, of which the shortest counts, else to each character.
Text precompiled(const Charsmap& charsmap, const Text& in) {
  Text out;
  out.text.reserve(in.text.size());
  // How far the characters that came out have used those of the original up, which is how far
  // they are from its beginning. A removed character counts with the one before it, if there is.
  size_t used = 0;
  const auto use = [&](size_t count) {
    for (; count > 0 && used < in.text.size(); --count)
      used += next_utf8(std::string_view(in.text).substr(used)).length;
  };
  const auto put = [&](std::string_view old, std::string_view replacement) {
    const size_t olds = count_characters(old);
    size_t news = 0;
    size_t belongs_to = used == 0 ? 0 : used - 1;
    for (size_t at = 0; at < replacement.size(); ++news) {
      const Utf8Unit unit = next_utf8(replacement.substr(at));
      if (news < olds) {
        belongs_to = used;
        use(1);
      }
      out.text += unit.kind == Utf8Unit::Kind::kValid ? replacement.substr(at, unit.length)
                                                      : kReplacementCharacter;
      at += unit.length;
      if (belongs_to < in.origin) out.origin = out.text.size();
    }
    if (news < olds && !out.text.empty()) use(olds - news);
  };
  constexpr size_t kMaxCluster = 5;
  const std::string_view text = in.text;
  for (size_t begin = 0; begin < text.size();) {
    Utf8Unit unit = next_utf8(text.substr(begin));
    size_t end = begin + unit.length;
    utf8proc_int32_t state = 0;
    while (end < text.size()) {
      const Utf8Unit next = next_utf8(text.substr(end));
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(unit.code_point),
                                           static_cast<utf8proc_int32_t>(next.code_point), &state))
        break;
      unit = next;
      end += next.length;
    }
    const std::string_view cluster = text.substr(begin, end - begin);
    begin = end;
    if (cluster.size() <= kMaxCluster) {
      if (const auto match = charsmap.shortest_match(cluster); match.length > 0) {
        put(cluster, match.replacement);
        continue;
      }
    }
    for (size_t at = 0; at < cluster.size();) {
      const std::string_view character = cluster.substr(at, next_utf8(cluster.substr(at)).length);
      at += character.size();
      const auto match = charsmap.shortest_match(character);
      put(character, match.length > 0 ? match.replacement : character);
    }
  }
  return out;
}

Result<Text> apply(const NormalizerStep& step, Text text, size_t limit, MatchBudget* budget) {
  switch (step.kind) {
    case NormalizerKind::kNfc:
    case NormalizerKind::kNfd:
    case NormalizerKind::kNfkc:
    case NormalizerKind::kNfkd:
      return to_unicode_form(text, step.kind);
    case NormalizerKind::kLowercase:
      return map_characters(text, put_lowercase);
    case NormalizerKind::kPrepend:
      text.text.insert(0, step.content);
      if (text.origin > 0) text.origin += step.content.size();
      return text;
    case NormalizerKind::kReplace:
      return replace(step, text, limit, budget);
    case NormalizerKind::kStrip:
      return strip(std::move(text), step.strip_left, step.strip_right);
    case NormalizerKind::kNmt:
      return map_characters(text, put_nmt);
    case NormalizerKind::kStripAccents:
      return map_characters(text, [](uint32_t c, std::string* out) {
        if (!is_mark(c)) append_utf8(c, out);
      });
    case NormalizerKind::kStripNonspacing:
      return map_characters(text, [](uint32_t c, std::string* out) {
        if (!is_nonspacing_mark(c)) append_utf8(c, out);
      });
    case NormalizerKind::kBertClean:
      return map_characters(text, put_bert_clean);
    case NormalizerKind::kBertCjk:
      return map_characters(text, put_cjk_apart);
    case NormalizerKind::kPrecompiled:
      return precompiled(*step.charsmap, text);
    case NormalizerKind::kByteLevel:
      return Text{to_byte_level(text.text),
                  to_byte_level(std::string_view(text.text).substr(0, text.origin)).size()};
  }
  return text;
}

}  // namespace

std::vector<NormalizerStep> read_normalizer(const JsonField& field) {
  std::vector<NormalizerStep> steps;
  read_steps(field, 0, &steps);
  return steps;
}

Result<Text> normalize(const std::vector<NormalizerStep>& steps, Text text, MatchBudget* budget) {
  const size_t limit = kMaxNormalizerGrowthBase + kMaxNormalizerGrowth * text.text.size();
  for (const NormalizerStep& step : steps) {
    if (text.text.empty()) break;
    auto next = apply(step, std::move(text), limit, budget);
    if (!next.ok()) return next;
    text = *std::move(next);
    if (text.text.size() > limit) {
      return Error{"the tokenizer's normalizer makes the text too large; check its Replace steps"};
    }
  }
  return text;
}

}  // namespace sinter::runtime::tokenizer
