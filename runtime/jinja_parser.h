// Template text to a tree.
#pragma once

#include <string_view>

#include "runtime/jinja_ast.h"

namespace sinter::runtime::jinja {

// `source` must be UTF-8. Throws SyntaxFailure (runtime/jinja_lexer.h).
Body parse(std::string_view source);

}  // namespace sinter::runtime::jinja
