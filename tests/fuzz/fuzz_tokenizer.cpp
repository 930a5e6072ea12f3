// Damages a tokenizer.json, loads the result, and encodes and decodes a short text with what loads.
// Usage: fuzz_tokenizer TOKENIZER_JSON COUNT
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "runtime/tokenizer.h"
#include "tests/fuzz/mutate.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER_JSON COUNT\n", argv[0]);
    return 2;
  }
  std::ifstream in(argv[1], std::ios::binary);
  const std::string seed((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!sinter::runtime::Tokenizer::from_json(seed).ok()) {
    std::fprintf(stderr, "%s: not a tokenizer.json that loads\n", argv[1]);
    return 2;
  }
  // All but the vocabulary and the merges is small: damage it alone half of the time.
  const size_t model = seed.find("\"model\"");
  const std::string text =
      "The 12 caf\xC3\xA9s' e\xCC\x81 <|im_start|> <think>\n\n \xF0\x9F\x98\x80 \xFF"
      "abc  ";

  uint64_t state = 0x70CE;
  const long long count = std::atoll(argv[2]);
  long long loaded = 0, refused = 0, encoded = 0;
  for (long long i = 0; i < count; ++i) {
    const std::string mutant = i % 2 == 0 && model != std::string::npos
                                   ? mutate(seed.substr(0, model), state) + seed.substr(model)
                                   : mutate(seed, state);
    const auto tokenizer = sinter::runtime::Tokenizer::from_json(mutant);
    if (!tokenizer.ok()) {
      if (tokenizer.error().message.empty()) return 1;
      ++refused;
      continue;
    }
    ++loaded;
    for (const bool special : {false, true}) {
      const auto ids = tokenizer->encode(text, special);
      if (!ids.ok()) continue;
      ++encoded;
      sinter::runtime::StreamingDecoder decoder(*tokenizer, special);
      std::string streamed;
      for (const int32_t id : *ids) {
        if (id < 0 || id >= tokenizer->vocab_size()) return 1;
        streamed += decoder.push(id);
      }
      streamed += decoder.flush();
      if (streamed != tokenizer->decode(*ids, special)) return 1;
    }
  }
  std::printf("fuzz_tokenizer: %lld mutants, %lld refused, %lld loaded, %lld texts encoded\n",
              count, refused, loaded, encoded);
  return 0;
}
