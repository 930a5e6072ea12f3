// The recursive-descent parser's cursor and its types; text_parse.cpp has the module grammar.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ir/graph.h"
#include "ir/text_lexer.h"
#include "ir/type.h"

namespace sinter::ir {

// One token ahead of the text. The first error is kept; every function gives false (or nothing)
// after it.
class Cursor {
 public:
  Cursor(std::string_view text, std::string_view file_name) : lexer_(text, file_name) { advance(); }

  const Token& token() const { return token_; }
  const absl::Status& status() const { return status_; }

  bool is(TokenKind kind) const { return status_.ok() && token_.kind == kind; }
  bool is(TokenKind kind, std::string_view text) const { return is(kind) && token_.text == text; }
  bool is_punctuation(std::string_view text) const { return is(TokenKind::punctuation, text); }

  bool advance();
  // Takes the token when it is this one, without an error otherwise.
  bool accept(TokenKind kind, std::string_view text);
  bool expect(TokenKind kind, std::string_view text);
  std::optional<Token> take(TokenKind kind, std::string_view what);

  bool fail(size_t offset, std::string_view message);
  // "found X, expected `what`" at the token.
  bool fail_expected(std::string_view what);

 private:
  Lexer lexer_;
  Token token_;
  absl::Status status_;
};

// Whole-word numbers; nothing when there is more or less than one, or when it does not fit.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_double(std::string_view text);
std::optional<float> parse_float(std::string_view text);

// `tensor<...>`, `weight<...>`, `state<...>`: parsed and checked by verify_type.
std::optional<TensorType> parse_tensor_type(Cursor& cursor);
std::optional<WeightType> parse_weight_type(Cursor& cursor);
std::optional<StateType> parse_state_type(Cursor& cursor);

}  // namespace sinter::ir
