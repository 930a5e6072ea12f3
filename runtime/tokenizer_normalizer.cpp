#include <fmt/format.h>
#include <utf8proc.h>

#include "runtime/tokenizer_normal_form.h"
#include "runtime/tokenizer_stages.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using Kind = NormalizerStep::Kind;

constexpr int kMaxDepth = 8;      // of Sequence in Sequence
constexpr size_t kMaxSteps = 64;  // in all
// NFKD expands one character to 18 at most; the rest is for short texts with long prefixes.
constexpr size_t kMaxGrowth = 32;
constexpr size_t kMaxGrowthBase = 1 << 20;

void read_steps(const JsonField& field, int depth, std::vector<NormalizerStep>* steps) {
  if (field.is_null() || field.failed()) return;
  const std::string type = field.member("type").string();
  if (field.failed()) return;
  if (type == "Sequence") {
    if (depth == kMaxDepth) return field.fail("nests Sequences too deeply");
    for (const JsonField& item : field.member("normalizers").items()) {
      read_steps(item, depth + 1, steps);
    }
    return;
  }
  if (steps->size() == kMaxSteps) return field.fail("has too many steps");
  if (type == "NFC") {
    steps->push_back({Kind::kNfc});
  } else if (type == "NFD") {
    steps->push_back({Kind::kNfd});
  } else if (type == "NFKC") {
    steps->push_back({Kind::kNfkc});
  } else if (type == "NFKD") {
    steps->push_back({Kind::kNfkd});
  } else if (type == "Lowercase") {
    steps->push_back({Kind::kLowercase});
  } else if (type == "Prepend") {
    steps->push_back({.kind = Kind::kPrepend, .content = field.member("prepend").string()});
  } else if (type == "Replace") {
    auto pattern = field.member("pattern").pattern();
    if (!pattern.ok()) return;
    steps->push_back({.kind = Kind::kReplace,
                      .content = field.member("content").string(),
                      .pattern = {*pattern}});
  } else if (type == "Strip") {
    steps->push_back({.kind = Kind::kStrip,
                      .strip_left = field.member("strip_left").boolean(true),
                      .strip_right = field.member("strip_right").boolean(true)});
  } else {
    field.fail(
        fmt::format("has type '{}', which is not supported (supported: NFC, NFD, NFKC, NFKD, "
                    "Lowercase, Prepend, Replace, Strip, Sequence)",
                    type));
  }
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Unit unit = next_utf8(text);
    if (unit.code_point == 0x130) {
      // Capital I with dot: the one character whose lowercase is two (SpecialCasing.txt).
      out += "i\xCC\x87";
    } else {
      append_utf8(
          static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(unit.code_point))),
          &out);
    }
    text.remove_prefix(unit.length);
  }
  return out;
}

std::string strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Utf8Unit unit = next_utf8(text);
    if (!is_white_space(unit.code_point)) break;
    text.remove_prefix(unit.length);
  }
  while (right && !text.empty()) {
    const uint32_t code_point = last_code_point(text);
    if (!is_white_space(code_point)) break;
    text.remove_suffix(code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : 3);
  }
  return std::string(text);
}

}  // namespace

std::vector<NormalizerStep> read_normalizer(const JsonField& field) {
  std::vector<NormalizerStep> steps;
  read_steps(field, 0, &steps);
  return steps;
}

Result<std::string> normalize(const std::vector<NormalizerStep>& steps, std::string text,
                              MatchBudget* budget) {
  const size_t limit = kMaxGrowthBase + kMaxGrowth * text.size();
  const Error too_large{
      "tokenizer.json: normalizer makes the text too large; check its Replace steps"};
  for (const NormalizerStep& step : steps) {
    if (text.empty()) break;
    switch (step.kind) {
      case Kind::kNfc:
      case Kind::kNfd:
      case Kind::kNfkc:
      case Kind::kNfkd: {
        const bool compose = step.kind == Kind::kNfc || step.kind == Kind::kNfkc;
        const bool compat = step.kind == Kind::kNfkc || step.kind == Kind::kNfkd;
        text = normal_form(text, compose, compat);
        break;
      }
      case Kind::kLowercase:
        text = lowercase(text);
        break;
      case Kind::kPrepend:
        text.insert(0, step.content);
        break;
      case Kind::kReplace: {
        auto spans = step.pattern[0].find_all(text, budget);
        if (!spans.ok()) return spans.error();
        std::string out;
        for (const Span& span : *spans) {
          if (span.is_match) {
            out += step.content;
          } else {
            out.append(text, span.begin, span.end - span.begin);
          }
          if (out.size() > limit) return too_large;
        }
        text = std::move(out);
        break;
      }
      case Kind::kStrip:
        text = strip(text, step.strip_left, step.strip_right);
        break;
    }
    if (text.size() > limit) return too_large;
  }
  return text;
}

}  // namespace sinter::runtime::tokenizer
