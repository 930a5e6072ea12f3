#include "ir/text_lexer.h"

#include <fmt/format.h>

#include "ir/text_syntax.h"

namespace sinter::ir {

namespace {

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Keeps messages one short line of printable ASCII, whatever the file holds.
std::string excerpt(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string out;
  for (char c : text.substr(0, kLongest)) out += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > kLongest ? out + "..." : out;
}

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::end:
      return "end of text";
    case TokenKind::symbol:
      return fmt::format("'@{}'", excerpt(token.text));
    case TokenKind::value:
      return fmt::format("'%{}'", excerpt(token.text));
    case TokenKind::string:
      return fmt::format("\"{}\"", excerpt(token.text));
    case TokenKind::word:
    case TokenKind::punctuation:
      break;
  }
  return fmt::format("'{}'", excerpt(token.text));
}

absl::Status Lexer::error(size_t offset, std::string_view message) const {
  size_t line = 1;
  size_t line_start = 0;
  for (size_t i = 0; i < offset && i < text_.size(); ++i) {
    if (text_[i] != '\n') continue;
    ++line;
    line_start = i + 1;
  }
  return absl::InvalidArgumentError(
      fmt::format("{}:{}:{}: {}", file_name_, line, offset - line_start + 1, message));
}

void Lexer::skip_blanks() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      ++at_;
    } else if (text_.substr(at_, 2) == "//") {
      const size_t end = text_.find('\n', at_);
      at_ = end == std::string_view::npos ? text_.size() : end;
    } else {
      return;
    }
  }
}

absl::Status Lexer::read_string(std::string& out) {
  const size_t start = at_++;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') {
      ++at_;
      return absl::OkStatus();
    }
    if (static_cast<unsigned char>(c) < 0x20) break;
    if (c != '\\') {
      out += c;
      ++at_;
      continue;
    }
    const char escape = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (escape == '"' || escape == '\\') {
      out += escape;
    } else if (escape == 'n') {
      out += '\n';
    } else if (escape == 't') {
      out += '\t';
    } else if (escape == 'x' && at_ + 3 < text_.size() && hex_digit(text_[at_ + 2]) >= 0 &&
               hex_digit(text_[at_ + 3]) >= 0) {
      out += static_cast<char>(hex_digit(text_[at_ + 2]) * 16 + hex_digit(text_[at_ + 3]));
      at_ += 2;
    } else {
      return error(at_, "an unknown escape, expected \\\", \\\\, \\n, \\t or \\x and two digits");
    }
    at_ += 2;
  }
  return error(start, "a string that does not end on its line, expected '\"'");
}

absl::StatusOr<Token> Lexer::next() {
  skip_blanks();
  Token token;
  token.offset = at_;
  if (at_ >= text_.size()) return token;
  const char c = text_[at_];
  if (c == '"') {
    token.kind = TokenKind::string;
    if (absl::Status s = read_string(token.text); !s.ok()) return s;
    return token;
  }
  if (c == '@' || c == '%') {
    token.kind = c == '@' ? TokenKind::symbol : TokenKind::value;
    ++at_;
    if (at_ < text_.size() && text_[at_] == '"') {
      token.quoted = true;
      if (absl::Status s = read_string(token.text); !s.ok()) return s;
      return token;
    }
    const size_t start = at_;
    while (at_ < text_.size() && is_symbol_char(text_[at_])) ++at_;
    token.text = text_.substr(start, at_ - start);
    if (token.text.empty()) {
      return error(token.offset, fmt::format("'{}' alone, expected a name after it", c));
    }
    return token;
  }
  if (is_word_char(c)) {
    token.kind = TokenKind::word;
    const size_t start = at_;
    while (at_ < text_.size() && is_word_char(text_[at_])) ++at_;
    token.text = text_.substr(start, at_ - start);
    return token;
  }
  if (std::string_view("=:,{}()<>[]").find(c) != std::string_view::npos) {
    token.kind = TokenKind::punctuation;
    token.text = c;
    ++at_;
    return token;
  }
  return error(at_, fmt::format("the character '{}', expected a word, a name or punctuation",
                                excerpt(std::string_view(&c, 1))));
}

}  // namespace sinter::ir
