#include "runtime/tokenizer_decoder.h"

#include <fmt/format.h>

#include <charconv>

#include "runtime/tokenizer_stages.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr int kMaxDepth = 8;            // of Sequence in Sequence
constexpr size_t kMaxTokenSteps = 64;   // in all
constexpr size_t kMaxTokenText = 4096;  // bytes added by Replace steps to one token
constexpr int64_t kMaxStrip = 1 << 20;

struct Reader {
  Decoder decoder;
  bool fused = false;  // what follows works on the whole text

  void read(const JsonField& field, int depth) {
    if (field.is_null() || field.failed()) return;
    const std::string type = field.member("type").string();
    if (field.failed()) return;
    if (type == "Sequence") {
      if (depth == kMaxDepth) return field.fail("nests Sequences too deeply");
      for (const JsonField& item : field.member("decoders").items()) read(item, depth + 1);
      return;
    }
    if (decoder.kind == Decoder::Kind::kByteLevel) {
      return field.fail("follows a ByteLevel decoder, which must be the last");
    }
    if (type == "ByteLevel") {
      if (decoder.kind != Decoder::Kind::kSpaced) {
        return field.fail("is a ByteLevel decoder after others, which is not supported");
      }
      decoder.kind = Decoder::Kind::kByteLevel;
      return;
    }
    decoder.kind = Decoder::Kind::kText;
    if (type == "ByteFallback") {
      if (fused) return field.fail("is a ByteFallback after Fuse, which is not supported");
      decoder.byte_fallback = true;
    } else if (type == "Fuse") {
      fused = true;
    } else if (type == "Replace") {
      Decoder::TokenStep step;
      auto pattern = field.member("pattern").pattern();
      if (!pattern.ok()) return;
      step.pattern = {*pattern};
      step.content = field.member("content").string();
      add_token_step(field, std::move(step));
    } else if (type == "Metaspace") {
      // Spaces of its own text are not told from those that it makes: tokens hold none.
      auto pattern = Pattern::literal(field.member("replacement").character());
      if (field.failed() || !pattern.ok()) return;
      Decoder::TokenStep step{.pattern = {*pattern}, .content = " "};
      decoder.drop_first_spaces = read_prepend(field) != Prepend::kNever;
      add_token_step(field, std::move(step));
    } else if (type == "Strip") {
      read_strip(field);
    } else {
      field.fail(
          fmt::format("has type '{}', which is not supported (supported: ByteLevel, Replace, "
                      "ByteFallback, Fuse, Metaspace, Strip, Sequence)",
                      type));
    }
  }

  void read_strip(const JsonField& field) {
    Decoder::TokenStep step;
    step.content = field.member("content").character();
    step.strip_start = field.member("start").integer(0, kMaxStrip);
    step.strip_stop = field.member("stop").integer(0, kMaxStrip);
    if (!fused) return add_token_step(field, std::move(step));
    // Stripping the end of a stream would hold back text that may prove not to be its end.
    if (step.strip_stop != 0 || decoder.strip_count != 0) {
      return field.fail("is a Strip after Fuse; only one, with stop 0, is supported");
    }
    decoder.strip_content = step.content;
    decoder.strip_count = step.strip_start;
  }

  void add_token_step(const JsonField& field, Decoder::TokenStep step) {
    if (fused || decoder.byte_fallback) {
      return field.fail("comes after ByteFallback or Fuse, which is not supported");
    }
    if (decoder.token_steps.size() == kMaxTokenSteps) return field.fail("has too many steps");
    decoder.token_steps.push_back(std::move(step));
  }
};

}  // namespace

Decoder read_decoder(const JsonField& field) {
  Reader reader;
  reader.read(field, 0);
  return std::move(reader.decoder);
}

Result<std::string> token_text(const Decoder& decoder, std::string_view token) {
  if (decoder.kind == Decoder::Kind::kByteLevel) return from_byte_level(token);
  std::string text(token);
  const size_t limit = text.size() + kMaxTokenText;
  for (const Decoder::TokenStep& step : decoder.token_steps) {
    if (step.pattern.empty()) {
      std::string_view rest = text;
      for (int64_t i = 0; i < step.strip_start && rest.starts_with(step.content); ++i) {
        rest.remove_prefix(step.content.size());
      }
      for (int64_t i = 0; i < step.strip_stop && rest.ends_with(step.content); ++i) {
        rest.remove_suffix(step.content.size());
      }
      text = std::string(rest);
      continue;
    }
    if (text.empty()) continue;
    auto spans = step.pattern[0].find_all(text);
    if (!spans.ok()) return spans.error();
    std::string replaced;
    for (const Span& span : *spans) {
      if (span.is_match) {
        replaced += step.content;
      } else {
        replaced.append(text, span.begin, span.end - span.begin);
      }
      if (replaced.size() > limit) {
        return Error{fmt::format("tokenizer.json: decoder makes token '{}' longer than {} bytes",
                                 token, limit)};
      }
    }
    text = std::move(replaced);
  }
  return text;
}

int fallback_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int byte = 0;
  const char* end = text.data() + 5;
  const auto result = std::from_chars(text.data() + 3, end, byte, 16);
  return result.ec == std::errc() && result.ptr == end && byte >= 0 ? byte : -1;
}

}  // namespace sinter::runtime::tokenizer
