// tokenizer.model.
#include "runtime/text/tokenizer/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_tokenizer.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  const auto json = runtime::tokenizer::import_sentencepiece(input, {});
  if (!json.ok()) return check_quoting(json.error());
  use_tokenizer(runtime::Tokenizer::from_json(*json), kAnyText);
}

}  // namespace sinter::fuzz
