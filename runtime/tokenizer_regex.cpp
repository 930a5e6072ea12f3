#include "runtime/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>

#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

// Longest pattern accepted, in bytes: published split patterns have a few hundred.
constexpr size_t kMaxPatternBytes = 1 << 16;

constexpr std::string_view kWordClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// Rewrites a pattern from Oniguruma's Ruby syntax to PCRE2's. The differences that matter here:
//   \s            White_Space (PCRE2's has U+180E too); \w has marks; \h is a hexadecimal digit
//   (?m)          the dot matches a newline; PCRE2 calls that (?s)
//   x{1,3}+       a repeated interval, not a possessive one; x{,3} is x{0,3}
//   \uHHHH        a code point
class Translator {
 public:
  explicit Translator(std::string_view source) : source_(source) {}

  Result<std::string> run() {
    while (at_ < source_.size() && error_.empty()) step();
    if (!error_.empty()) return Error{error_};
    return std::move(out_);
  }

 private:
  char peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  bool starts_with(std::string_view text) const {
    return source_.substr(at_).substr(0, text.size()) == text;
  }
  void copy(size_t count) {
    count = std::min(count, source_.size() - at_);
    out_.append(source_.substr(at_, count));
    at_ += count;
  }
  void replace(size_t count, std::string_view text) {
    out_.append(text);
    at_ += count;
  }

  void step() {
    switch (peek()) {
      case '\\':
        atom_ = out_.size();
        escape(/*in_class=*/false);
        break;
      case '[':
        atom_ = out_.size();
        character_class();
        break;
      case '(':
        groups_.push_back(out_.size());
        open_group();
        break;
      case ')':
        if (!groups_.empty()) {
          atom_ = groups_.back();
          groups_.pop_back();
        }
        copy(1);
        break;
      case '{':
        if (!interval()) {
          atom_ = out_.size();
          copy(1);
        }
        break;
      case '*':
      case '+':
      case '?':
      case '|':
        copy(1);
        break;
      default:
        atom_ = out_.size();
        copy(next_utf8(source_.substr(at_)).length);
    }
  }

  // `(`, and for an option group `(?imx-imx` its letters.
  void open_group() {
    copy(1);
    if (peek() != '?') return;
    size_t end = at_ + 1;
    while (end < source_.size() && std::string_view("imx-").find(source_[end]) != source_.npos) {
      ++end;
    }
    if (end == source_.size() || (source_[end] != ':' && source_[end] != ')')) return;
    while (at_ < end) {
      if (peek() == 'm') {
        replace(1, "s");
      } else {
        copy(1);
      }
    }
  }

  bool interval() {
    size_t end = at_ + 1;
    const auto digits = [&] {
      const size_t begin = end;
      while (end < source_.size() && source_[end] >= '0' && source_[end] <= '9') ++end;
      return std::string(source_.substr(begin, end - begin));
    };
    std::string text = digits();
    if (end < source_.size() && source_[end] == ',') {
      ++end;
      const std::string upper = digits();
      if (text.empty() && upper.empty()) return false;
      text = (text.empty() ? "0" : text) + "," + upper;
    }
    if (text.empty() || end >= source_.size() || source_[end] != '}') return false;
    text = "{" + text + "}";
    at_ = end + 1;
    if (peek() == '+') {
      out_.insert(atom_, "(?:");
      text += ")";
    }
    out_ += text;
    return true;
  }

  void escape(bool in_class) {
    const auto set = [&](std::string_view members) {
      replace(2, in_class ? std::string(members) : fmt::format("[{}]", members));
    };
    switch (peek(1)) {
      case 's':
        return replace(2, "\\p{White_Space}");
      case 'S':
        return replace(2, "\\P{White_Space}");
      case 'w':
        return set(kWordClass);
      case 'h':
        return set("0-9A-Fa-f");
      case 'W':
      case 'H':
        if (in_class) {
          error_ = fmt::format("\\{} inside a character class is not supported", peek(1));
          return;
        }
        return replace(2, peek(1) == 'W' ? fmt::format("[^{}]", kWordClass) : "[^0-9A-Fa-f]");
      case 'u':
        for (size_t i = 2; i < 6; ++i) {
          if (std::isxdigit(static_cast<unsigned char>(peek(i))) == 0) return copy(2);
        }
        return replace(6, fmt::format("\\x{{{}}}", source_.substr(at_ + 2, 4)));
      case 'p':
      case 'P':
      case 'x':
        if (peek(2) == '{') {
          const size_t close = source_.find('}', at_);
          if (close != source_.npos) return copy(close + 1 - at_);
        }
        return copy(2);
      case '\0':
        error_ = "it ends in a lone backslash";
        return;
      default:
        copy(1);
        copy(next_utf8(source_.substr(at_)).length);
    }
  }

  void character_class() {
    copy(1);
    if (peek() == '^') copy(1);
    if (peek() == ']') copy(1);  // a literal in both syntaxes
    while (at_ < source_.size() && error_.empty()) {
      if (peek() == ']') return copy(1);
      if (starts_with("[:")) {
        const size_t close = source_.find(":]", at_);
        if (close != source_.npos) {
          copy(close + 2 - at_);
          continue;
        }
      }
      if (peek() == '[') {
        error_ = "nested character classes are not supported; write \\[ for a bracket";
      } else if (starts_with("&&")) {
        error_ = "character class intersections (&&) are not supported";
      } else if (peek() == '\\') {
        escape(/*in_class=*/true);
      } else {
        copy(next_utf8(source_.substr(at_)).length);
      }
    }
    if (error_.empty()) error_ = "a character class is not closed";
  }

  std::string_view source_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where in out_ the thing that a quantifier would repeat begins
  std::vector<size_t> groups_;  // where in out_ the open groups begin
  std::string error_;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Pattern::Code {
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
  std::string source;
};

Result<Pattern> Pattern::regex(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return Error{fmt::format("the pattern has {} bytes; at most {} are accepted", pattern.size(),
                             kMaxPatternBytes)};
  }
  auto translated = Translator(pattern).run();
  if (!translated.ok()) {
    return Error{fmt::format("cannot read pattern '{}': {}", pattern, translated.error().message)};
  }
  return compile(pattern, *translated, /*is_literal=*/false);
}

Result<Pattern> Pattern::literal(std::string_view text) {
  if (text.size() > kMaxPatternBytes / 4) {
    return Error{fmt::format("the pattern has {} bytes; at most {} are accepted", text.size(),
                             kMaxPatternBytes / 4)};
  }
  return compile(text, text, /*is_literal=*/true);
}

Result<Pattern> Pattern::compile(std::string_view source, std::string_view pcre2, bool is_literal) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) return Error{"out of memory compiling a pattern"};
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  // In Ruby syntax ^ and $ match at every line.
  const uint32_t options = is_literal
                               ? PCRE2_UTF | PCRE2_LITERAL
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->source = source;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre2.data()), pcre2.size(), options,
                             &error, &offset, context.get());
  if (code->code == nullptr) {
    return Error{fmt::format("cannot compile pattern '{}': {}", source, pcre2_message(error))};
  }
  // Without JIT support the interpreter is used; results are the same.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return Pattern(std::move(code));
}

Result<std::vector<Span>> Pattern::find_all(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  if (data == nullptr || context == nullptr) return Error{"out of memory matching a pattern"};
  // Sane patterns backtrack at most a few times for each byte of the text.
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<uint64_t>(
                                           100000 + 64 * uint64_t{text.size()}, UINT32_MAX)));
  pcre2_set_depth_limit(context.get(), 1000000);

  std::vector<Span> spans;
  size_t covered = 0;                // end of the last span
  std::optional<size_t> last_match;  // end of the last match
  size_t from = 0;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  while (from <= text.size()) {
    int rc = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, data.get(),
                         context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data.get(), context.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return Error{fmt::format("tokenizer.json: pattern '{}' fails on {} bytes of text: {}",
                               code_->source, text.size(), pcre2_message(rc))};
    }
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
    const size_t begin = match[0], end = match[1];
    // \K can move the start of a match to odd places.
    if (begin < covered || end < begin || end > text.size()) {
      return Error{fmt::format(
          "tokenizer.json: pattern '{}' yields overlapping matches; remove \\K", code_->source)};
    }
    if (begin == end && last_match == end) {
      if (from == text.size()) break;
      from += next_utf8(text.substr(from)).length;
      continue;
    }
    if (covered != begin) spans.push_back({covered, begin, false});
    spans.push_back({begin, end, true});
    covered = end;
    last_match = end;
    from = end;
  }
  if (covered != text.size()) spans.push_back({covered, text.size(), false});
  return spans;
}

}  // namespace sinter::runtime::tokenizer
