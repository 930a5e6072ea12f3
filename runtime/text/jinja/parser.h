// Template text to a tree.
#pragma once

#include <string_view>

#include "runtime/text/jinja/ast.h"

namespace sinter::runtime::jinja {

// `source` must be UTF-8. Throws SyntaxFailure (runtime/text/jinja/lexer.h).
Body parse(std::string_view source);

// Throws SyntaxFailure where a filter or a test has a name that there is none of. Within `if` such
// names are errors only when they are come to, as in Jinja.
void check_names(const Body& body);

}  // namespace sinter::runtime::jinja
