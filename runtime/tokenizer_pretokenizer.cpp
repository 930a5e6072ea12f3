#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "runtime/tokenizer_stages.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using Behavior = PreTokenizerStep::Behavior;
using Kind = PreTokenizerStep::Kind;

constexpr int kMaxDepth = 8;      // of Sequence in Sequence
constexpr size_t kMaxSteps = 64;  // in all

// The split that GPT-2's published encoder uses; ByteLevel with use_regex stands for it.
constexpr std::string_view kGpt2Split =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void read_split(const JsonField& field, PreTokenizerStep* step) {
  auto pattern = field.member("pattern").pattern();
  if (!pattern.ok()) return;
  step->pattern = {*pattern};
  step->invert = field.member("invert").boolean(false);
  step->behavior = static_cast<Behavior>(
      field.member("behavior")
          .one_of({"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"}));
}

// One of the patterns written in this file.
void set_pattern(const JsonField& field, std::string_view regex, PreTokenizerStep* step) {
  auto pattern = Pattern::regex(regex);
  if (pattern.ok()) {
    step->pattern = {*pattern};
  } else {
    field.fail(pattern.error().message);
  }
}

void read_metaspace(const JsonField& field, PreTokenizerStep* step) {
  step->replacement = field.member("replacement").character();
  step->prepend = read_prepend(field);
  auto pattern = Pattern::literal(step->replacement);
  if (!field.member("split").boolean(true) || field.failed() || !pattern.ok()) return;
  step->pattern = {*pattern};
  step->behavior = Behavior::kMergedWithNext;
}

void read_steps(const JsonField& field, int depth, std::vector<PreTokenizerStep>* steps) {
  if (field.is_null() || field.failed()) return;
  const std::string type = field.member("type").string();
  if (field.failed()) return;
  if (type == "Sequence") {
    if (depth == kMaxDepth) return field.fail("nests Sequences too deeply");
    for (const JsonField& item : field.member("pretokenizers").items()) {
      read_steps(item, depth + 1, steps);
    }
    return;
  }
  if (steps->size() == kMaxSteps) return field.fail("has too many steps");
  PreTokenizerStep step{};
  if (type == "Split") {
    step.kind = Kind::kSplit;
    read_split(field, &step);
  } else if (type == "Digits") {
    step.kind = Kind::kDigits;
    step.behavior = field.member("individual_digits").boolean(false) ? Behavior::kIsolated
                                                                     : Behavior::kContiguous;
    set_pattern(field, R"(\p{N})", &step);
  } else if (type == "ByteLevel") {
    const auto is_byte_level = [](const PreTokenizerStep& s) { return s.kind == Kind::kByteLevel; };
    if (std::any_of(steps->begin(), steps->end(), is_byte_level)) {
      return field.fail("is a second ByteLevel; bytes can be mapped only once");
    }
    step.kind = Kind::kByteLevel;
    step.add_prefix_space = field.member("add_prefix_space").boolean(true);
    if (field.member("use_regex").boolean(true)) set_pattern(field, kGpt2Split, &step);
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    read_metaspace(field, &step);
  } else {
    return field.fail(
        fmt::format("has type '{}', which is not supported (supported: Split, "
                    "ByteLevel, Digits, Metaspace, Sequence)",
                    type));
  }
  steps->push_back(std::move(step));
}

// `word` with its spaces replaced and, where the step wants it, one put before it.
std::string replace_spaces(const PreTokenizerStep& step, std::string_view word, bool is_first) {
  std::string out;
  for (const char c : word) c == ' ' ? out += step.replacement : out += c;
  const bool prepend =
      step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && is_first);
  return prepend && !out.starts_with(step.replacement) ? step.replacement + out : out;
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

Result<std::vector<std::string>> pre_tokenize(const std::vector<PreTokenizerStep>& steps,
                                              std::string text, bool at_start,
                                              MatchBudget* budget) {
  std::vector<std::string> words;
  if (!text.empty()) words.push_back(std::move(text));
  for (const PreTokenizerStep& step : steps) {
    std::vector<std::string> next;
    next.reserve(words.size());
    for (std::string& word : words) {
      if (step.add_prefix_space && word.front() != ' ') word.insert(word.begin(), ' ');
      if (step.kind == Kind::kMetaspace) {
        word = replace_spaces(step, word, /*is_first=*/at_start && &word == words.data());
      }
      const auto add = [&](std::string_view piece) {
        if (piece.empty()) return;
        if (step.kind == Kind::kByteLevel) {
          next.push_back(to_byte_level(piece));
        } else {
          next.emplace_back(piece);
        }
      };
      if (step.pattern.empty()) {
        add(word);
        continue;
      }
      auto spans = step.pattern[0].find_all(word, budget);
      if (!spans.ok()) return spans.error();
      std::vector<Span> pieces;
      apply_behavior(*spans, step.behavior, step.invert, &pieces);
      for (const Span& piece : pieces) {
        add(std::string_view(word).substr(piece.begin, piece.end - piece.begin));
      }
    }
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
