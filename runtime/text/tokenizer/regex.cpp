#include "runtime/text/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "runtime/text/tokenizer/regex_syntax.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

// Longest pattern accepted, in bytes: published split patterns have a few hundred.
constexpr size_t kMaxPatternBytes = 1 << 16;

// A budget of a megabyte of text, in steps, of which a CPU does about 10^9 in a second. Patterns of
// published tokenizers take 20 to 150 steps for each byte.
constexpr uint64_t kBudgetPerByte = 1000;
constexpr uint64_t kLeastBudget = uint64_t{1} << 30;
// Steps that an item of the pattern costs, besides one for each byte that it moves. Without machine
// code it costs more.
constexpr uint64_t kItemSteps = 24;
constexpr uint64_t kInterpretedItemSteps = 200;

constexpr size_t kFirstStackBytes = 32 << 10;
constexpr size_t kMaxStackBytes = 64 << 20;
constexpr uint32_t kMaxHeapKib = 256 << 10;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// The n of an item x{n} or x{n,}, which is tried before the next item is reached; 0 for others.
uint64_t interval_of(std::string_view item) {
  const size_t brace = item.rfind('{');
  if (brace == std::string_view::npos) return 0;
  uint64_t value = 0;
  for (size_t i = brace + 1; i < item.size() && item[i] >= '0' && item[i] <= '9'; ++i)
    value = value * 10 + static_cast<uint64_t>(item[i] - '0');
  return value;
}

// What PCRE2 calls before each item of a pattern. Between two calls it does no more than run
// through the text from one place to the other, compare a reference or try an interval.
struct Meter {
  MatchBudget* budget = nullptr;
  const Pcre2Pattern* pattern = nullptr;
  uint64_t item_steps = kItemSteps;
  size_t position = 0;  // of the last call

  static int on_item(pcre2_callout_block* block, void* data) {
    Meter& meter = *static_cast<Meter*>(data);
    const size_t here = block->current_position;
    uint64_t steps = meter.item_steps;
    steps += here > meter.position ? here - meter.position : meter.position - here;
    meter.position = here;
    if (meter.pattern->has_references) {
      for (uint32_t i = 1; i < block->capture_top; ++i) {
        const PCRE2_SIZE begin = block->offset_vector[2 * i], end = block->offset_vector[2 * i + 1];
        if (begin != PCRE2_UNSET && end > begin) steps += end - begin;
      }
    }
    if (meter.pattern->has_long_intervals) {
      const std::string_view text = meter.pattern->text;
      const size_t begin = std::min<size_t>(block->pattern_position, text.size());
      steps += std::min<uint64_t>(interval_of(text.substr(begin, block->next_item_length)),
                                  block->subject_length - here);
    }
    return meter.budget->take(steps) ? 0 : PCRE2_ERROR_CALLOUT;
  }
};

}  // namespace

MatchBudget::MatchBudget(size_t text_bytes)
    : left_(std::max(kLeastBudget, kBudgetPerByte * uint64_t{text_bytes})) {}

struct Pattern::Code {
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;  // null: `source` is a literal
  bool has_machine_code = false;
  std::string source;
  Pcre2Pattern pattern;
};

// A pattern in a message: one line, and not all of a long one.
static std::string shown(std::string_view pattern) {
  constexpr size_t kMostShown = 160;
  const bool cut = pattern.size() > kMostShown;
  size_t end = cut ? kMostShown : pattern.size();
  // No part of a character: UTF-8's continuation bytes are 10xxxxxx.
  while (cut && end > 0 && (static_cast<unsigned char>(pattern[end]) & 0xC0) == 0x80) --end;
  std::string text;
  for (const char c : pattern.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      text += fmt::format("\\x{:02x}", byte);
    else
      text += c;
  }
  return cut ? text + "..." : text;
}

Result<Pattern> Pattern::regex(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return Error{fmt::format("the pattern has {} bytes; at most {} are accepted", pattern.size(),
                             kMaxPatternBytes)};
  }
  auto translated = to_pcre2(pattern);
  if (!translated.ok())
    return Error{
        fmt::format("cannot read pattern '{}': {}", shown(pattern), translated.error().message)};
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) return Error{"out of memory compiling a pattern"};
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  // ^ and $ match at every line.
  constexpr uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->source = pattern;
  code->pattern = *std::move(translated);
  const std::string& text = code->pattern.text;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), kOptions,
                             &error, &offset, context.get());
  if (code->code == nullptr)
    return Error{
        fmt::format("cannot compile pattern '{}': {}", shown(pattern), pcre2_message(error))};
  // Without JIT support the interpreter is used; results are the same.
  code->has_machine_code = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  return Pattern(std::move(code));
}

Result<Pattern> Pattern::literal(std::string_view text) {
  auto code = std::make_shared<Code>();
  code->source = text;
  return Pattern(std::move(code));
}

namespace {

// Cuts a text at matches that come in order.
class Cutter {
 public:
  explicit Cutter(std::string_view text) : text_(text) {}
  void match(size_t begin, size_t end) {
    if (covered_ != begin) spans_.push_back({covered_, begin, false});
    spans_.push_back({begin, end, true});
    covered_ = end;
  }
  size_t covered() const { return covered_; }
  std::vector<Span> finish() {
    if (covered_ != text_.size()) spans_.push_back({covered_, text_.size(), false});
    return std::move(spans_);
  }

 private:
  std::string_view text_;
  std::vector<Span> spans_;
  size_t covered_ = 0;  // end of the last span
};

// In time proportional to the text, however it repeats itself.
std::vector<Span> find_literal(std::string_view text, std::string_view wanted) {
  Cutter cutter(text);
  while (!wanted.empty() && cutter.covered() < text.size()) {
    const char* rest = text.data() + cutter.covered();
    const void* found =
        ::memmem(rest, text.size() - cutter.covered(), wanted.data(), wanted.size());
    if (found == nullptr) break;
    const auto begin = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    cutter.match(begin, begin + wanted.size());
  }
  return cutter.finish();
}

}  // namespace

Result<std::vector<Span>> Pattern::find_all(std::string_view text, MatchBudget* budget) const {
  if (code_->code == nullptr) return find_literal(text, code_->source);
  MatchBudget own(text.size());
  if (budget == nullptr) budget = &own;
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  if (data == nullptr || context == nullptr) return Error{"out of memory matching a pattern"};
  Meter meter{.budget = budget, .pattern = &code_->pattern};
  pcre2_set_callout(context.get(), Meter::on_item, &meter);
  // The meter bounds the work, over all matches; these count for each match by itself.
  pcre2_set_match_limit(context.get(), UINT32_MAX);
  pcre2_set_depth_limit(context.get(), UINT32_MAX);
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  // Made when the 32 KiB on the machine's stack do not do.
  std::unique_ptr<pcre2_jit_stack, decltype(&pcre2_jit_stack_free)> stack(nullptr,
                                                                          pcre2_jit_stack_free);

  Cutter cutter(text);
  std::optional<size_t> last_match;  // end of the last match
  size_t from = 0;
  uint32_t options = PCRE2_NO_UTF_CHECK;
  if (!code_->has_machine_code) meter.item_steps = kInterpretedItemSteps;
  while (from <= text.size()) {
    meter.position = from;
    const int rc = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                               from, options, data.get(), context.get());
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && stack == nullptr) {
      stack.reset(pcre2_jit_stack_create(kFirstStackBytes, kMaxStackBytes, nullptr));
      if (stack == nullptr) return Error{"out of memory matching a pattern"};
      pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
      continue;
    }
    if (rc == PCRE2_ERROR_CALLOUT || rc == PCRE2_ERROR_HEAPLIMIT ||
        rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      return Error{fmt::format("the tokenizer's pattern '{}' needs too much {} on {} bytes of text",
                               shown(code_->source), rc == PCRE2_ERROR_CALLOUT ? "work" : "memory",
                               text.size())};
    }
    if (rc < 0) {
      return Error{fmt::format("the tokenizer's pattern '{}' fails on {} bytes of text: {}",
                               shown(code_->source), text.size(), pcre2_message(rc))};
    }
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
    const size_t begin = match[0], end = match[1];
    if (begin == end && last_match == end) {
      if (from == text.size()) break;
      from += next_utf8(text.substr(from)).length;
      continue;
    }
    cutter.match(begin, end);
    last_match = end;
    from = end;
  }
  return cutter.finish();
}

}  // namespace sinter::runtime::tokenizer
