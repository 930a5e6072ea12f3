// Patterns in Oniguruma's default syntax, which Hugging Face tokenizers uses, rewritten for PCRE2.
#pragma once

#include <string>
#include <string_view>

#include "runtime/support/result.h"

namespace sinter::runtime::tokenizer {

struct Pcre2Pattern {
  std::string text;                 // for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE
  bool has_references = false;      // \1 or \k<name>
  bool has_long_intervals = false;  // x{n,} with a large n
};

// Every construct keeps exactly the meaning that Oniguruma gives it, or is an error that names it.
Result<Pcre2Pattern> to_pcre2(std::string_view oniguruma);

}  // namespace sinter::runtime::tokenizer
