// tokenizer.json, tokenizer_config.json and a text to encode, in this order.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_tokenizer.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  const auto texts = parts(input, 3);
  keep_if_json(texts[0]);
  use_tokenizer(runtime::Tokenizer::from_json(texts[0], texts[1]),
                texts[2].empty() ? kAnyText : texts[2]);
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
