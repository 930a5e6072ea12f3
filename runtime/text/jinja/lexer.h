// Template text to tokens, with the white space that the tags take away gone: trim_blocks and
// lstrip_blocks are on, as `transformers` sets them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sinter::runtime::jinja {

struct Token {
  enum class Kind {
    kText,  // between tags
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,  // `text` is its value
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 0;
};

// A Failure with its line: thrown for text that is not a template.
struct SyntaxFailure {
  int line;
  std::string message;
};

// `source` must be UTF-8. Comments are gone; the last token is kEnd. Throws SyntaxFailure.
std::vector<Token> tokenize(std::string_view source);

}  // namespace sinter::runtime::jinja
