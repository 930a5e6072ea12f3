#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "runtime/text/tokenizer/characters.h"
#include "runtime/text/tokenizer/scripts.h"
#include "runtime/text/tokenizer/stages.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using Behavior = PreTokenizerStep::Behavior;
using SplitKind = PreTokenizerStep::Kind;

constexpr size_t kMaxSplitSteps = 32;    // in all
constexpr ptrdiff_t kMaxByteLevels = 4;  // each may make text twice as long
constexpr int64_t kMaxLength = 1 << 20;  // of FixedLength

// The split that GPT-2's published encoder uses; ByteLevel with use_regex stands for it.
constexpr std::string_view kGpt2Split =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Behavior read_behavior(const JsonField& field) {
  return static_cast<Behavior>(
      field.one_of({"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"}));
}

void read_split(const JsonField& field, PreTokenizerStep* step) {
  auto pattern = field.member("pattern").pattern();
  if (!pattern.ok()) return;
  step->pattern = {*pattern};
  step->invert = field.member("invert").boolean(false);
  step->behavior = read_behavior(field.member("behavior"));
}

void read_byte_level(const JsonField& field, PreTokenizerStep* step) {
  step->add_prefix_space = field.member("add_prefix_space").boolean(true);
  if (!field.member("use_regex").boolean(true)) return;
  auto pattern = Pattern::regex(kGpt2Split);
  if (!pattern.ok()) return field.fail(pattern.error().message);
  step->pattern = {*pattern};
}

void read_metaspace(const JsonField& field, PreTokenizerStep* step) {
  step->replacement = field.member("replacement").character();
  step->prepend = read_prepend(field);
  auto pattern = Pattern::literal(step->replacement);
  if (!field.member("split").boolean(true) || field.failed() || !pattern.ok()) return;
  step->pattern = {*pattern};
  step->behavior = Behavior::kMergedWithNext;
}

void read_delimiter(const JsonField& field, PreTokenizerStep* step) {
  auto pattern = Pattern::literal(field.member("delimiter").character());
  if (field.failed() || !pattern.ok()) return;
  step->pattern = {*pattern};
  step->behavior = Behavior::kRemoved;
}

void read_steps(const JsonField& field, int depth, std::vector<PreTokenizerStep>* steps) {
  if (field.is_null() || field.failed()) return;
  const std::string type = field.member("type").string();
  if (field.failed()) return;
  if (type == "Sequence") {
    if (depth == kMaxSequenceDepth) return field.fail("nests Sequences too deeply");
    for (const JsonField& item : field.member("pretokenizers").items()) {
      read_steps(item, depth + 1, steps);
    }
    return;
  }
  if (steps->size() + 2 > kMaxSplitSteps) return field.fail("has too many steps");
  const auto at_characters = [](bool (*is_delimiter)(uint32_t), Behavior behavior) {
    return PreTokenizerStep{
        .kind = SplitKind::kCharacters, .is_delimiter = is_delimiter, .behavior = behavior};
  };
  PreTokenizerStep step{.kind = SplitKind::kSplit};
  if (type == "Split") {
    read_split(field, &step);
  } else if (type == "CharDelimiterSplit") {
    read_delimiter(field, &step);
  } else if (type == "ByteLevel") {
    step.kind = SplitKind::kByteLevel;
    if (std::ranges::count(*steps, SplitKind::kByteLevel, &PreTokenizerStep::kind) ==
        kMaxByteLevels)
      return field.fail(fmt::format("is one of more than {} of type ByteLevel", kMaxByteLevels));
    read_byte_level(field, &step);
  } else if (type == "Metaspace") {
    step.kind = SplitKind::kMetaspace;
    read_metaspace(field, &step);
  } else if (type == "Digits") {
    step = at_characters(is_numeric, field.member("individual_digits").boolean(false)
                                         ? Behavior::kIsolated
                                         : Behavior::kContiguous);
  } else if (type == "Punctuation") {
    const JsonField behavior = field.member("behavior");
    step = at_characters(is_punctuation,
                         behavior.is_null() ? Behavior::kIsolated : read_behavior(behavior));
  } else if (type == "WhitespaceSplit") {
    step = at_characters(is_white_space, Behavior::kRemoved);
  } else if (type == "BertPreTokenizer") {
    steps->push_back(at_characters(is_white_space, Behavior::kRemoved));
    step = at_characters(is_punctuation, Behavior::kIsolated);
  } else if (type == "Whitespace") {
    step.kind = SplitKind::kWhitespace;
    step.behavior = Behavior::kRemoved;
  } else if (type == "UnicodeScripts") {
    step.kind = SplitKind::kScripts;
    step.behavior = Behavior::kRemoved;
  } else if (type == "FixedLength") {
    step.kind = SplitKind::kFixedLength;
    const JsonField length = field.member("length");
    step.length = length.is_null() ? 5 : static_cast<size_t>(length.integer(1, kMaxLength));
  } else {
    return field.fail(
        fmt::format("has type '{}', which is not supported (supported: Split, CharDelimiterSplit, "
                    "ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, "
                    "BertPreTokenizer, UnicodeScripts, FixedLength, Sequence)",
                    type));
  }
  steps->push_back(std::move(step));
}

// `word` with its spaces replaced and, where the step wants it, one put before it.
Text replace_spaces(const PreTokenizerStep& step, std::string_view word, size_t origin) {
  Text out;
  for (size_t i = 0; i < word.size(); ++i) {
    word[i] == ' ' ? out.text += step.replacement : out.text += word[i];
    if (i < origin) out.origin = out.text.size();
  }
  const bool prepend =
      step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && origin > 0);
  if (!prepend || out.text.starts_with(step.replacement)) return out;
  out.text.insert(0, step.replacement);
  if (origin > 0) out.origin += step.replacement.size();
  return out;
}

// Calls put(begin, end, code_point) for each character.
template <class Put>
void each_character(std::string_view text, Put put) {
  for (size_t begin = 0; begin < text.size();) {
    const Utf8Unit unit = next_utf8(text.substr(begin));
    put(begin, begin + unit.length, unit.code_point);
    begin += unit.length;
  }
}

// Each delimiter is a match of its own.
std::vector<Span> split_at_characters(std::string_view text, bool (*is_delimiter)(uint32_t)) {
  std::vector<Span> spans;
  each_character(text, [&](size_t begin, size_t end, uint32_t c) {
    const bool is_match = is_delimiter(c);
    if (!is_match && !spans.empty() && !spans.back().is_match) {
      spans.back().end = end;
    } else {
      spans.push_back({begin, end, is_match});
    }
  });
  return spans;
}

// White space matches; between it, word characters and others are apart.
std::vector<Span> split_words_and_signs(std::string_view text) {
  std::vector<Span> spans;
  int previous = -1;
  each_character(text, [&](size_t begin, size_t end, uint32_t c) {
    const int kind = is_word(c) ? 0 : is_white_space(c) ? 1 : 2;
    if (kind == previous) {
      spans.back().end = end;
    } else {
      spans.push_back({begin, end, kind == 1});
    }
    previous = kind;
  });
  return spans;
}

// Characters without a script of their own stay with what is before them; at the start of a text,
// where nothing is, they match, which is to say that they go.
std::vector<Span> split_scripts(std::string_view text) {
  std::vector<Span> spans;
  uint8_t previous = kAnyScript;
  each_character(text, [&](size_t begin, size_t end, uint32_t c) {
    const uint8_t script = script_of(c);
    if (script != kAnyScript && script != previous) {
      spans.push_back({begin, end, false});
      previous = script;
    } else if (spans.empty()) {
      spans.push_back({begin, end, true});
    } else {
      spans.back().end = end;
    }
  });
  return spans;
}

std::vector<Span> split_fixed(std::string_view text, size_t length) {
  std::vector<Span> spans;
  size_t count = 0;
  each_character(text, [&](size_t begin, size_t end, uint32_t) {
    if (count++ % length == 0) spans.push_back({begin, end, true});
    spans.back().end = end;
  });
  return spans;
}

Result<std::vector<Span>> find_spans(const PreTokenizerStep& step, std::string_view text,
                                     MatchBudget* budget) {
  switch (step.kind) {
    case SplitKind::kCharacters:
      return split_at_characters(text, step.is_delimiter);
    case SplitKind::kWhitespace:
      return split_words_and_signs(text);
    case SplitKind::kScripts:
      return split_scripts(text);
    case SplitKind::kFixedLength:
      return split_fixed(text, step.length);
    default:
      break;
  }
  if (step.pattern.empty()) return std::vector<Span>{{0, text.size(), false}};
  return step.pattern[0].find_all(text, budget);
}

// Appends the pieces of `text` that the split leaves, as [begin, end) pairs.
void apply_behavior(const std::vector<Span>& spans, Behavior behavior, bool invert,
                    std::vector<Span>* pieces) {
  bool previous = false;  // whether the span before was a match
  const auto merge_runs = [&](const Span& span, bool joins, bool backwards) {
    if (joins && !pieces->empty()) {
      (backwards ? pieces->back().begin : pieces->back().end) = backwards ? span.begin : span.end;
    } else {
      pieces->push_back(span);
    }
  };
  switch (behavior) {
    case Behavior::kIsolated:
      *pieces = spans;
      return;
    case Behavior::kRemoved:
      for (const Span& span : spans) {
        if (span.is_match == invert) pieces->push_back(span);
      }
      return;
    case Behavior::kContiguous:
      for (const Span& span : spans) {
        const bool is_match = span.is_match != invert;
        merge_runs(span, is_match == previous, false);
        previous = is_match;
      }
      return;
    case Behavior::kMergedWithPrevious:
      for (const Span& span : spans) {
        const bool is_match = span.is_match != invert;
        merge_runs(span, is_match && !previous, false);
        previous = is_match;
      }
      return;
    case Behavior::kMergedWithNext:
      for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
        const bool is_match = span->is_match != invert;
        merge_runs(*span, is_match && !previous, true);
        previous = is_match;
      }
      std::reverse(pieces->begin(), pieces->end());
      return;
  }
}

// The code point for each byte: printable Latin-1 stands for itself, the other bytes for U+0100 on.
constexpr std::array<uint16_t, 256> kByteToCodePoint = [] {
  std::array<uint16_t, 256> table{};
  uint16_t next = 256;
  for (uint16_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    table[byte] = printable ? byte : next++;
  }
  return table;
}();

constexpr std::array<int16_t, 324> kCodePointToByte = [] {
  std::array<int16_t, 324> table{};
  for (int16_t& byte : table) byte = -1;
  for (size_t byte = 0; byte < 256; ++byte) {
    table[kByteToCodePoint[byte]] = static_cast<int16_t>(byte);
  }
  return table;
}();

}  // namespace

Prepend read_prepend(const JsonField& metaspace) {
  const JsonField scheme = metaspace.member("prepend_scheme");
  if (!scheme.is_null()) return static_cast<Prepend>(scheme.one_of({"always", "first", "never"}));
  // Older files have a flag.
  return metaspace.member("add_prefix_space").boolean(true) ? Prepend::kAlways : Prepend::kNever;
}

std::vector<PreTokenizerStep> read_pre_tokenizer(const JsonField& field) {
  std::vector<PreTokenizerStep> steps;
  read_steps(field, 0, &steps);
  return steps;
}

Result<Words> pre_tokenize(const std::vector<PreTokenizerStep>& steps, Text text,
                           MatchBudget* budget) {
  Words words;
  words.text = std::move(text.text);
  if (!words.text.empty()) words.words.push_back({0, words.text.size(), text.origin});
  std::vector<Span> pieces;
  for (const PreTokenizerStep& step : steps) {
    // Steps that only cut leave the text as it is.
    const bool rewrites = step.kind == SplitKind::kByteLevel || step.kind == SplitKind::kMetaspace;
    Words next;
    next.words.reserve(words.words.size());
    for (size_t i = 0; i < words.words.size(); ++i) {
      const Words::Word& word = words.words[i];
      std::string_view whole = words[i];
      size_t origin = word.origin;
      Text rewritten;
      if (step.kind == SplitKind::kMetaspace) {
        rewritten = replace_spaces(step, whole, origin);
        whole = rewritten.text;
        origin = rewritten.origin;
      } else if (step.add_prefix_space && !whole.starts_with(' ')) {
        rewritten.text = " ";
        rewritten.text += whole;
        whole = rewritten.text;
        if (origin > 0) ++origin;
      }
      auto spans = find_spans(step, whole, budget);
      if (!spans.ok()) return spans.error();
      pieces.clear();
      apply_behavior(*spans, step.behavior, step.invert, &pieces);
      for (const Span& piece : pieces) {
        if (piece.begin == piece.end) continue;
        size_t of_origin =
            std::min(origin - std::min(origin, piece.begin), piece.end - piece.begin);
        if (!rewrites) {
          next.words.push_back({word.begin + piece.begin, word.begin + piece.end, of_origin});
          continue;
        }
        const size_t begin = next.text.size();
        const std::string_view part = whole.substr(piece.begin, piece.end - piece.begin);
        if (step.kind == SplitKind::kByteLevel) {
          of_origin = to_byte_level(part.substr(0, of_origin)).size();
          next.text += to_byte_level(part);
        } else {
          next.text += part;
        }
        next.words.push_back({begin, next.text.size(), of_origin});
      }
    }
    if (!rewrites) next.text = std::move(words.text);
    words = std::move(next);
  }
  return words;
}

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (const char c : bytes) append_utf8(kByteToCodePoint[static_cast<uint8_t>(c)], &out);
  return out;
}

std::string from_byte_level(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::string_view rest = text;
  while (!rest.empty()) {
    const Utf8Unit unit = next_utf8(rest);
    if (unit.kind != Utf8Unit::Kind::kValid || unit.code_point >= kCodePointToByte.size() ||
        kCodePointToByte[unit.code_point] < 0) {
      return std::string(text);
    }
    out.push_back(static_cast<char>(kCodePointToByte[unit.code_point]));
    rest.remove_prefix(unit.length);
  }
  return out;
}

}  // namespace sinter::runtime::tokenizer
