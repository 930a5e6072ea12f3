#include "runtime/text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

using TokenKind = Token::Kind;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}
bool is_name(char c) { return is_name_start(c) || is_digit(c); }

// Every line ends with "\n"; a newline at the very end does not count.
std::string with_plain_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag(at_);
      if (tag == std::string::npos) {
        add_text(source_.substr(at_));
        at_ = source_.size();
        break;
      }
      read_tag(tag);
    }
    tokens_.push_back({TokenKind::kEnd, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string message) const {
    throw SyntaxFailure{line_, std::move(message)};
  }

  char peek(size_t offset = 0) const {
    return at_ + offset < source_.size() ? source_[at_ + offset] : '\0';
  }
  bool looking_at(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }
  void advance(size_t count) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                    source_.begin() + static_cast<ptrdiff_t>(at_ + count), '\n'));
    at_ += count;
  }
  void skip_space() {
    size_t count = 0;
    while (is_space(peek(count))) ++count;
    advance(count);
  }

  size_t find_tag(size_t from) const {
    for (size_t i = source_.find('{', from); i != std::string::npos; i = source_.find('{', i + 1)) {
      const char next = i + 1 < source_.size() ? source_[i + 1] : '\0';
      if (next == '%' || next == '{' || next == '#') return i;
    }
    return std::string::npos;
  }

  void add_text(std::string text) {
    if (!text.empty()) tokens_.push_back({TokenKind::kText, std::move(text), line_});
  }

  // The text before a tag, less the white space that the tag takes: all of it for "-"; for blocks
  // and comments without a sign, that between the line's start and the tag.
  std::string text_before(size_t tag, char sign, bool variable) const {
    std::string text = source_.substr(at_, tag - at_);
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.pop_back();
    } else if (sign != '+' && !variable) {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == std::string::npos ? 0 : newline + 1;
      if ((start > 0 || line_starting_) &&
          std::all_of(text.begin() + static_cast<ptrdiff_t>(start), text.end(), is_space))
        text.resize(start);
    }
    return text;
  }

  // The end of a tag of two characters: its sign is consumed, and the white space that it takes.
  bool take_end(std::string_view end, bool trims_newline) {
    if (looking_at(fmt::format("-{}", end))) {
      advance(1 + end.size());
      skip_space();
    } else if (trims_newline && looking_at(fmt::format("+{}", end))) {
      advance(1 + end.size());
    } else if (looking_at(end)) {
      advance(end.size());
      if (trims_newline && peek() == '\n') advance(1);
    } else {
      return false;
    }
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  // The position after "{%", a sign, `word`, and `-%}` or `%}`; npos when something else is there.
  void read_tag(size_t tag) {
    const char kind = source_[tag + 1];
    const char after = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const char sign = after == '-' || after == '+' ? after : '\0';
    std::string text = text_before(tag, sign, kind == '{');
    add_text(std::move(text));
    advance(tag - at_);
    advance(sign != '\0' ? 3 : 2);
    line_starting_ = false;
    if (kind == '#') return read_comment();
    if (kind == '%' && read_raw()) return;
    tokens_.push_back(
        {kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "", line_});
    read_expression(kind == '{');
  }

  void read_comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("a comment is not closed with #}");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance(end - at_ - (sign == '-' || sign == '+' ? 1 : 0));
    (void)take_end("#}", true);
  }

  // {% raw %} ... {% endraw %}; false, with nothing consumed, when the block is another one.
  bool read_raw() {
    const auto matches_word = [&](size_t from, std::string_view word) {
      while (from < source_.size() && is_space(source_[from])) ++from;
      if (!std::string_view(source_).substr(from).starts_with(word)) return std::string::npos;
      from += word.size();
      while (from < source_.size() && is_space(source_[from])) ++from;
      const std::string_view rest = std::string_view(source_).substr(from);
      return rest.starts_with("%}") || rest.starts_with("-%}") || rest.starts_with("+%}")
                 ? from
                 : std::string::npos;
    };
    const size_t begin = matches_word(at_, "raw");
    if (begin == std::string::npos || source_[begin] == '+') return false;
    advance(begin - at_);
    (void)take_end("%}", false);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      const char after = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      const char sign = after == '-' || after == '+' ? after : '\0';
      const size_t end = matches_word(tag + (sign != '\0' ? 3 : 2), "endraw");
      if (end == std::string::npos) continue;
      add_text(text_before(tag, sign, false));
      advance(end - at_);
      (void)take_end("%}", true);
      return true;
    }
    fail("{% raw %} is not closed with {% endraw %}");
  }

  void read_expression(bool variable) {
    std::string open;  // brackets that are not closed yet
    while (true) {
      skip_space();
      if (at_ >= source_.size())
        fail(variable ? "{{ is not closed with }}" : "{% is not closed with %}");
      if (open.empty() && take_end(variable ? "}}" : "%}", !variable)) {
        tokens_.push_back({variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, "", line_});
        return;
      }
      const char c = peek();
      if (is_name_start(c)) {
        size_t length = 1;
        while (is_name(peek(length))) ++length;
        add(TokenKind::kName, length);
      } else if (is_digit(c)) {
        read_number();
      } else if (c == '"' || c == '\'') {
        read_string(c);
      } else {
        read_operator(&open);
      }
    }
  }

  void add(TokenKind kind, size_t length) {
    tokens_.push_back({kind, source_.substr(at_, length), line_});
    advance(length);
  }

  void read_number() {
    size_t length = 0;
    const auto digits = [&] {
      while (is_digit(peek(length)) || (peek(length) == '_' && is_digit(peek(length + 1))))
        ++length;
    };
    if (peek() == '0' && std::string_view("xXoObB").find(peek(1)) != std::string_view::npos &&
        peek(1) != '\0') {
      length = 2;
      while (std::isxdigit(static_cast<uint8_t>(peek(length))) != 0 || peek(length) == '_')
        ++length;
      return add(TokenKind::kInteger, length);
    }
    digits();
    bool fraction = false;
    // In `x.0.5` the digits are subscripts.
    const bool subscript = at_ > 0 && source_[at_ - 1] == '.';
    if (!subscript && peek(length) == '.' && is_digit(peek(length + 1))) {
      fraction = true;
      ++length;
      digits();
    }
    if (!subscript && (peek(length) == 'e' || peek(length) == 'E')) {
      const size_t sign = peek(length + 1) == '+' || peek(length + 1) == '-' ? 1 : 0;
      if (is_digit(peek(length + 1 + sign))) {
        fraction = true;
        length += 1 + sign;
        digits();
      }
    }
    // Zeros before other digits are a number of their own, which no template has a use for.
    if (!fraction && peek() == '0') {
      length = 1;
      while (peek(length) == '0' || (peek(length) == '_' && peek(length + 1) == '0')) ++length;
    }
    add(fraction ? TokenKind::kFloat : TokenKind::kInteger, length);
  }

  uint32_t read_digits(size_t* i, size_t most, int base) const {
    uint32_t value = 0;
    for (size_t count = 0; count < most; ++count, ++*i) {
      const char c = *i < source_.size() ? source_[*i] : '\0';
      const int digit = is_digit(c)            ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : 99;
      if (digit >= base) {
        if (base == 16) fail("an escape in a string has too few hexadecimal digits");
        break;
      }
      value = value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
    }
    return value;
  }

  void read_string(char quote) {
    std::string value;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote;) {
      if (source_[i] != '\\') {
        value += source_[i++];
        continue;
      }
      if (i + 1 >= source_.size()) break;
      const char c = source_[i + 1];
      i += 2;
      constexpr std::string_view kEscapes = "abfnrtv\\'\"";
      if (const size_t escape = kEscapes.find(c); escape != std::string_view::npos) {
        value += "\a\b\f\n\r\t\v\\'\""[escape];
      } else if (c >= '0' && c <= '7') {
        --i;
        tokenizer::append_utf8(read_digits(&i, 3, 8), &value);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const uint32_t code_point = read_digits(&i, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
        if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000))
          fail("an escape in a string is not a character");
        tokenizer::append_utf8(code_point, &value);
      } else if (c == 'N') {
        fail("\\N escapes in strings are not supported; write the character itself");
      } else if (c != '\n') {  // a backslash at a line's end joins lines
        value += '\\';
        value += c;
      }
    }
    if (i >= source_.size()) fail("a string is not closed");
    tokens_.push_back({TokenKind::kString, std::move(value), line_});
    advance(i + 1 - at_);
  }

  void read_operator(std::string* open) {
    for (const std::string_view two : {"//", "**", "==", "!=", ">=", "<="})
      if (looking_at(two)) return add(TokenKind::kOperator, 2);
    const char c = peek();
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos || c == '\0')
      fail(fmt::format(
          "a character that has no meaning here: '{}'",
          source_.substr(at_, tokenizer::next_utf8(std::string_view(source_).substr(at_)).length)));
    if (c == '(' || c == '[' || c == '{') open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) fail(fmt::format("'{}' closes nothing", c));
      open->pop_back();
    }
    add(TokenKind::kOperator, 1);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace sinter::runtime::jinja
