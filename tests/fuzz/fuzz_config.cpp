// Damages a seed model's JSON files, one at a time, and opens the result.
// Usage: fuzz_config MODEL_FOLDER COUNT
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/fuzz/checkpoint_fuzz.h"
#include "tests/fuzz/mutate.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL_FOLDER COUNT\n", argv[0]);
    return 2;
  }
  const sinter::frontends::FolderCopy copy(argv[1]);
  if (!sinter::frontends::open_checkpoint(copy.path).ok()) {
    std::fprintf(stderr, "%s: not a model that opens\n", argv[1]);
    return 2;
  }
  struct Seed {
    std::filesystem::path path;
    std::string bytes;
  };
  std::vector<Seed> seeds;
  for (const char* name : {"config.json", "model.safetensors.index.json", "generation_config.json",
                           "tokenizer_config.json"}) {
    const std::filesystem::path path = copy.path / name;
    if (!std::filesystem::exists(path)) continue;
    seeds.push_back({path, sinter::frontends::read_bytes(path)});
    // The quantization block is a small part of config.json: damage it alone as often as the whole
    // file.
    if (const size_t at = seeds.back().bytes.find("\"quantization\""); at != std::string::npos) {
      seeds.push_back(seeds.back());
    }
  }

  sinter::frontends::FuzzCounts counts;
  uint64_t state = 0x5eed;
  const int64_t count = std::atoll(argv[2]);
  for (int64_t i = 0; i < count; ++i) {
    const size_t which = static_cast<size_t>(i) % seeds.size();
    const Seed& seed = seeds[which];
    const size_t block = seed.bytes.find("\"quantization\"");
    const bool block_only = which == 1 && block != std::string::npos;
    const std::string mutant =
        block_only ? seed.bytes.substr(0, block) + mutate(seed.bytes.substr(block), state)
                   : mutate(seed.bytes, state);
    sinter::frontends::write_bytes(seed.path, mutant);
    sinter::frontends::open_and_decode(copy.path, counts);
    sinter::frontends::write_bytes(seed.path, seed.bytes);
  }
  return sinter::frontends::finish("fuzz_config", counts);
}
