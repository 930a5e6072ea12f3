// vocab.json, merges.txt, tokenizer_config.json, added_tokens.json and special_tokens_map.json, in
// this order.
#include <string>

#include "runtime/text/tokenizer/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_tokenizer.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  const auto texts = parts(input, 5);
  keep_if_json(texts[0]);
  const auto json = runtime::tokenizer::import_vocab_merges(
      texts[0], texts[1], {std::string(texts[2]), std::string(texts[3]), std::string(texts[4])});
  if (!json.ok()) return check_quoting(json.error());
  use_tokenizer(runtime::Tokenizer::from_json(*json, texts[2]), kAnyText);
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
