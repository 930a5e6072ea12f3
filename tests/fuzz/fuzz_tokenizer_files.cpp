// Damages a tokenizer.model, and a vocab.json with its merges.txt; loads the results, and encodes
// and decodes a short text with what loads.
// Usage: fuzz_tokenizer_files TOKENIZER_MODEL VOCAB_MERGES_FOLDER COUNT
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "runtime/tokenizer.h"
#include "runtime/tokenizer_import.h"
#include "tests/fuzz/mutate.h"

namespace {

namespace rt = sinter::runtime;

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// False if something that must hold does not.
bool use(const rt::Result<std::string>& json, long long* loaded) {
  if (!json.ok()) return !json.error().message.empty();
  const auto tokenizer = rt::Tokenizer::from_json(*json);
  if (!tokenizer.ok()) return !tokenizer.error().message.empty();
  ++*loaded;
  const std::string text = "The 12 caf\xC3\xA9s' <s> \xEF\xBC\xA1\n\n \xF0\x9F\x98\x80 \xFF  ";
  const auto ids = tokenizer->encode(text, true, true);
  if (!ids.ok()) return true;
  rt::StreamingDecoder decoder(*tokenizer, false);
  std::string streamed;
  for (const int32_t id : *ids) {
    if (id < 0 || id >= tokenizer->vocab_size()) return false;
    streamed += decoder.push(id);
  }
  return streamed + decoder.flush() == tokenizer->decode(*ids, false);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s TOKENIZER_MODEL VOCAB_MERGES_FOLDER COUNT\n", argv[0]);
    return 2;
  }
  const std::string model = read(argv[1]);
  const std::string vocab = read(std::string(argv[2]) + "/vocab.json");
  const std::string merges = read(std::string(argv[2]) + "/merges.txt");
  const long long count = std::atoll(argv[3]);
  uint64_t state = 0x5E47;
  long long loaded = 0;
  for (long long i = 0; i < count; ++i) {
    const bool ok =
        i % 2 == 0 ? use(rt::tokenizer::import_sentencepiece(mutate(model, state), {}), &loaded)
        : i % 4 == 1
            ? use(rt::tokenizer::import_vocab_merges(mutate(vocab, state), merges, {}), &loaded)
            : use(rt::tokenizer::import_vocab_merges(vocab, mutate(merges, state), {}), &loaded);
    if (!ok) return 1;
  }
  std::printf("fuzz_tokenizer_files: %lld mutants, %lld loaded\n", count, loaded);
  return 0;
}
