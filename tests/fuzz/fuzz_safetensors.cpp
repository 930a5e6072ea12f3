// Damages the header of a seed model's safetensors files and opens the result.
// Usage: fuzz_safetensors MODEL_FOLDER COUNT
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/fuzz/checkpoint_fuzz.h"
#include "tests/fuzz/mutate.h"

namespace {

namespace fs = std::filesystem;

constexpr size_t kLengthBytes = 8;

uint64_t header_size(const std::string& file) {
  uint64_t size = 0;
  for (size_t i = kLengthBytes; i-- > 0;) size = size << 8 | static_cast<uint8_t>(file[i]);
  return size;
}

std::string length_bytes(uint64_t size) {
  std::string out;
  for (size_t i = 0; i < kLengthBytes; ++i) out += static_cast<char>(size >> (8 * i) & 0xFF);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL_FOLDER COUNT\n", argv[0]);
    return 2;
  }
  const sinter::frontends::FolderCopy copy(argv[1]);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(copy.path)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty() || !sinter::frontends::open_checkpoint(copy.path).ok()) {
    std::fprintf(stderr, "%s: not a model that opens\n", argv[1]);
    return 2;
  }

  sinter::frontends::FuzzCounts counts;
  uint64_t state = 0x5eed;
  const int64_t count = std::atoll(argv[2]);
  for (int64_t i = 0; i < count; ++i) {
    const fs::path& path = files[static_cast<size_t>(i) % files.size()];
    const std::string good = sinter::frontends::read_bytes(path);
    const uint64_t size = header_size(good);
    const std::string header = good.substr(kLengthBytes, size);
    const std::string data = good.substr(kLengthBytes + size);
    std::string bad;
    switch (sinter::frontends::fuzz_random(state) % 8) {
      case 0:  // the length and the header alike
        bad = mutate(good.substr(0, kLengthBytes + size), state) + data;
        break;
      case 1: {  // the file ends early
        bad = good.substr(0, sinter::frontends::fuzz_random(state) % good.size());
        break;
      }
      case 2: {  // the data, scales and biases included
        bad = good;
        for (int flip = 0; flip < 16; ++flip) {
          bad[kLengthBytes + size + sinter::frontends::fuzz_random(state) % data.size()] =
              static_cast<char>(sinter::frontends::fuzz_random(state));
        }
        break;
      }
      default: {
        const std::string mutant = mutate(header, state);
        bad = length_bytes(mutant.size()) + mutant + data;
        break;
      }
    }
    sinter::frontends::write_bytes(path, bad);
    sinter::frontends::open_and_decode(copy.path, counts);
    sinter::frontends::write_bytes(path, good);
  }
  return sinter::frontends::finish("fuzz_safetensors", counts);
}
