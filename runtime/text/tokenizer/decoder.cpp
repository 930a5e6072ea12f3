#include "runtime/text/tokenizer/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "runtime/text/tokenizer/stages.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using DecoderKind = DecoderStep::Kind;

constexpr size_t kMaxDecoderSteps = 64;  // in all
constexpr int64_t kMaxStrip = 1 << 20;
// How many times longer the steps may make a text, all together.
constexpr size_t kMaxDecoderGrowth = 64;
// Steps of a MatchBudget: for one step of a decoder and its token, for each byte of that, and what
// a token adds to the budget.
constexpr uint64_t kStepWork = 50;
constexpr uint64_t kByteWork = 2, kSlowByteWork = 20;
constexpr uint64_t kWorkPerToken = 500;

struct Reader {
  std::vector<DecoderStep> steps;
  size_t growth = 1;

  void read(const JsonField& field, int depth) {
    if (field.is_null() || field.failed()) return;
    const std::string type = field.member("type").string();
    if (field.failed()) return;
    if (type == "Sequence") {
      if (depth == kMaxSequenceDepth) return field.fail("nests Sequences too deeply");
      for (const JsonField& item : field.member("decoders").items()) read(item, depth + 1);
      return;
    }
    if (steps.size() == kMaxDecoderSteps) return field.fail("has too many steps");
    DecoderStep step{.kind = DecoderKind::kFuse};
    const auto text_or = [&](const char* name, const char* otherwise) {
      const JsonField member = field.member(name);
      return member.is_null() ? otherwise : member.string();
    };
    if (type == "ByteLevel") {
      step.kind = DecoderKind::kByteLevel;
    } else if (type == "ByteFallback") {
      step.kind = DecoderKind::kByteFallback;
    } else if (type == "Replace") {
      read_replace(field, &step);
    } else if (type == "Metaspace") {
      step.kind = DecoderKind::kMetaspace;
      step.content = field.member("replacement").character();
      step.drop_first = read_prepend(field) != Prepend::kNever;
    } else if (type == "Strip") {
      step.kind = DecoderKind::kStrip;
      step.content = field.member("content").character();
      step.start = field.member("start").integer(0, kMaxStrip);
      step.stop = field.member("stop").integer(0, kMaxStrip);
    } else if (type == "WordPiece") {
      step.kind = DecoderKind::kWordPiece;
      step.content = text_or("prefix", "##");
      step.cleanup = field.member("cleanup").boolean(true);
    } else if (type == "BPEDecoder") {
      step.kind = DecoderKind::kBpe;
      step.content = text_or("suffix", "</w>");
      if (step.content.empty()) grow(field, 2);
    } else if (type == "CTC") {
      step.kind = DecoderKind::kCtc;
      step.content = text_or("pad_token", "<pad>");
      step.delimiter = text_or("word_delimiter_token", "|");
      step.cleanup = field.member("cleanup").boolean(true);
      if (step.delimiter.empty()) grow(field, 2);
    } else if (type != "Fuse") {
      return field.fail(fmt::format(
          "has type '{}', which is not supported (supported: ByteLevel, Replace, ByteFallback, "
          "Fuse, Metaspace, Strip, WordPiece, BPEDecoder, CTC, Sequence)",
          type));
    }
    steps.push_back(std::move(step));
  }

  void read_replace(const JsonField& field, DecoderStep* step) {
    step->kind = DecoderKind::kReplace;
    const JsonField source = field.member("pattern");
    auto pattern = source.pattern();
    if (!pattern.ok()) return;
    step->pattern = {*pattern};
    step->content = field.member("content").string();
    if (field.failed()) return;
    // What stands in for one byte at most; an empty match may be before every byte.
    const JsonField literal = source.member("String");
    const size_t shortest = literal.is_null() ? 0 : literal.string().size();
    grow(field, shortest == 0
                    ? step->content.size() + 1
                    : std::max<size_t>(1, (step->content.size() + shortest - 1) / shortest));
  }

  void grow(const JsonField& field, size_t times) {
    if (__builtin_mul_overflow(growth, times, &growth) || growth > kMaxDecoderGrowth)
      field.fail(fmt::format("makes text more than {} times longer", kMaxDecoderGrowth));
  }
};

// An empty `from` is found before every character and at the end.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  while (!text.empty()) {
    const size_t found = from.empty() ? 0 : std::min(text.find(from), text.size());
    out += text.substr(0, found);
    text.remove_prefix(found);
    if (text.empty()) break;
    out += to;
    const size_t length = from.empty() ? next_utf8(text).length : from.size();
    if (from.empty()) out += text.substr(0, length);
    text.remove_prefix(length);
  }
  if (from.empty()) out += to;
  return out;
}

// English spacing, as BERT's first implementation had it.
std::string clean_up(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  const auto may_match = [&](size_t space) {
    return space + 1 < text.size() &&
           std::string_view(".?!,'nd").find(text[space + 1]) != text.npos;
  };
  size_t space = text.find(' ');
  while (space != text.npos && !may_match(space)) space = text.find(' ', space + 1);
  if (space == text.npos) return text;
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

std::string strip(const DecoderStep& step, std::string_view text) {
  for (int64_t i = 0; i < step.start && text.starts_with(step.content); ++i)
    text.remove_prefix(step.content.size());
  for (int64_t i = 0; i < step.stop && text.ends_with(step.content); ++i)
    text.remove_suffix(step.content.size());
  return std::string(text);
}

}  // namespace

Decoder read_decoder(const JsonField& field) {
  Reader reader;
  reader.read(field, 0);
  if (field.is_null()) reader.steps.push_back({.kind = DecoderKind::kSpaced});
  bool streams = true;
  for (size_t i = reader.steps.size(); i-- > 0;) {
    DecoderStep& step = reader.steps[i];
    step.rest_streams = streams;
    streams &=
        step.kind == DecoderKind::kFuse || (step.kind == DecoderKind::kStrip && step.stop == 0);
  }
  return {.steps = std::move(reader.steps), .growth = reader.growth};
}

DecoderRun::DecoderRun(const std::vector<DecoderStep>& steps) : steps_(steps) { reset(); }

void DecoderRun::reset() {
  states_.assign(steps_.size(), State());
  for (size_t i = 0; i < steps_.size(); ++i) states_[i].left = steps_[i].start;
  budget_ = MatchBudget(0);
  gave_up_ = false;
}

bool DecoderRun::can_work(const DecoderStep& step, size_t bytes) {
  const bool slow = step.cleanup || step.kind == DecoderKind::kByteLevel;
  const uint64_t per_byte = slow ? kSlowByteWork : kByteWork;
  gave_up_ |= !budget_.take(kStepWork + per_byte * bytes);
  return !gave_up_;
}

std::string DecoderRun::replace_pattern(const DecoderStep& step, std::string text) {
  if (text.empty()) return text;
  const auto spans = step.pattern[0].find_all(text, &budget_);
  if (!spans.ok()) {
    gave_up_ = true;
    return text;
  }
  std::string replaced;
  for (const Span& span : *spans) {
    if (span.is_match) {
      replaced += step.content;
    } else {
      replaced.append(text, span.begin, span.end - span.begin);
    }
  }
  return replaced;
}

void DecoderRun::push(std::string token, std::string* out) {
  budget_.add(kWorkPerToken);
  pass(0, std::move(token), out);
}

void DecoderRun::pass(size_t step_index, std::string token, std::string* out) {
  if (gave_up_) return;
  if (step_index == steps_.size()) {
    *out += token;
    return;
  }
  const DecoderStep& step = steps_[step_index];
  if (!can_work(step, token.size())) return;
  State& state = states_[step_index];
  const size_t next = step_index + 1;
  const size_t place = state.tokens++;
  switch (step.kind) {
    case DecoderKind::kSpaced:
      return pass(next, place == 0 ? std::move(token) : " " + token, out);
    case DecoderKind::kReplace:
      return pass(next, replace_pattern(step, std::move(token)), out);
    case DecoderKind::kStrip:
      return pass(next, strip(step, token), out);
    case DecoderKind::kMetaspace:
      return pass(next, replace_all(token, step.content, place == 0 && step.drop_first ? "" : " "),
                  out);
    case DecoderKind::kWordPiece:
      if (place > 0) {
        token = token.starts_with(step.content) ? token.substr(step.content.size()) : " " + token;
      }
      return pass(next, step.cleanup ? clean_up(std::move(token)) : std::move(token), out);
    case DecoderKind::kBpe:
      if (std::exchange(state.holds, false))
        pass(next, replace_all(state.held, step.content, " "), out);
      // Only the last token differs, and only where it has the suffix.
      if (token.find(step.content) == token.npos) return pass(next, std::move(token), out);
      state.held = std::move(token);
      state.holds = true;
      return;
    case DecoderKind::kCtc: {
      if (std::exchange(state.holds, true) && state.held == token) return;
      state.held = token;
      if (!step.content.empty()) token = replace_all(token, step.content, "");
      if (step.cleanup) token = replace_all(clean_up(std::move(token)), step.delimiter, " ");
      if (!token.empty()) pass(next, std::move(token), out);
      return;
    }
    case DecoderKind::kByteFallback: {
      const int byte = fallback_byte(token);
      if (byte >= 0) {
        state.held.push_back(static_cast<char>(byte));
        return;
      }
      pass_bytes(step_index, out);
      return pass(next, std::move(token), out);
    }
    case DecoderKind::kByteLevel:
      state.held += from_byte_level(token);
      if (step.rest_streams) pass_characters(step_index, /*all=*/false, out);
      return;
    case DecoderKind::kFuse:
      if (step.rest_streams) return pass_part(next, token, out);
      state.held += token;
      return;
  }
}

// A part of the one text that a kFuse or kByteLevel has made of all tokens.
void DecoderRun::pass_part(size_t step_index, std::string_view part, std::string* out) {
  for (; step_index < steps_.size(); ++step_index) {
    const DecoderStep& step = steps_[step_index];
    if (!can_work(step, 0)) return;
    State& state = states_[step_index];
    while (step.kind == DecoderKind::kStrip && state.left > 0 && !part.empty()) {
      if (part.starts_with(step.content)) {
        part.remove_prefix(step.content.size());
        --state.left;
      } else {
        state.left = 0;
      }
    }
  }
  *out += part;
}

// The run of bytes that kByteFallback holds: characters, or one U+FFFD for each byte if it is not
// UTF-8.
void DecoderRun::pass_bytes(size_t step_index, std::string* out) {
  const std::string bytes = std::exchange(states_[step_index].held, {});
  if (bytes.empty()) return;
  if (is_valid_utf8(bytes)) return pass(step_index + 1, bytes, out);
  for (size_t i = 0; i < bytes.size(); ++i)
    pass(step_index + 1, std::string(kReplacementCharacter), out);
}

// The characters of the bytes that kByteLevel holds. Unless `all`, an incomplete one stays.
void DecoderRun::pass_characters(size_t step_index, bool all, std::string* out) {
  std::string& held = states_[step_index].held;
  std::string_view rest = held;
  std::string text;
  while (!rest.empty()) {
    const Utf8Unit unit = next_utf8(rest);
    if (unit.kind == Utf8Unit::Kind::kIncomplete && !all) break;
    text +=
        unit.kind == Utf8Unit::Kind::kValid ? rest.substr(0, unit.length) : kReplacementCharacter;
    rest.remove_prefix(unit.length);
  }
  held = std::string(rest);
  if (steps_[step_index].rest_streams) {
    pass_part(step_index + 1, text, out);
  } else {
    pass(step_index + 1, std::move(text), out);
  }
}

void DecoderRun::end(size_t step_index, std::string* out) {
  const DecoderStep& step = steps_[step_index];
  State& state = states_[step_index];
  switch (step.kind) {
    case DecoderKind::kBpe:
      if (state.holds) pass(step_index + 1, replace_all(state.held, step.content, ""), out);
      return;
    case DecoderKind::kByteFallback:
      return pass_bytes(step_index, out);
    case DecoderKind::kByteLevel:
      return pass_characters(step_index, /*all=*/true, out);
    case DecoderKind::kFuse:
      if (!step.rest_streams) pass(step_index + 1, std::move(state.held), out);
      return;
    default:
      return;
  }
}

void DecoderRun::flush(std::string* out) {
  for (size_t i = 0; i < steps_.size() && !gave_up_; ++i) end(i, out);
}

int fallback_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int byte = 0;
  const char* end = text.data() + 5;
  const auto result = std::from_chars(text.data() + 3, end, byte, 16);
  return result.ec == std::errc() && result.ptr == end && byte >= 0 ? byte : -1;
}

}  // namespace sinter::runtime::tokenizer
