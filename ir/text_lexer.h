// Tokens of the text form.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sinter::ir {

enum class TokenKind {
  end,          // of the text
  word,         // keyword, op, number, shape
  symbol,       // @name
  value,        // %name or %12
  string,       // "..."
  punctuation,  // one of = : , { } ( ) < > [ ]
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;     // without sigil and quotes, escapes replaced
  bool quoted = false;  // a symbol or a value in quotes
  size_t offset = 0;    // of its first byte
};

// For messages: "end of text", "'func'", "\"a\"".
std::string describe(const Token& token);

class Lexer {
 public:
  Lexer(std::string_view text, std::string_view file_name) : text_(text), file_name_(file_name) {}

  absl::StatusOr<Token> next();
  // `<file>:<line>:<column>: message`; lines and columns count from 1, columns in bytes.
  absl::Status error(size_t offset, std::string_view message) const;

 private:
  void skip_blanks();
  absl::Status read_string(std::string& out);

  std::string_view text_;
  std::string_view file_name_;
  size_t at_ = 0;
};

}  // namespace sinter::ir
