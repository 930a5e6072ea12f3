// Damages the metadata and tensor descriptions of a seed model's GGUF file and opens the result.
// Usage: fuzz_gguf MODEL_FOLDER COUNT
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>

#include "frontends/gguf.h"
#include "tests/fuzz/checkpoint_fuzz.h"
#include "tests/fuzz/mutate.h"

namespace {

namespace fs = std::filesystem;
using sinter::frontends::fuzz_random;

// Writes a number that is often wrong over eight or four bytes.
void replace_number(std::string& bytes, size_t end, uint64_t& state) {
  static constexpr uint64_t kNumbers[] = {
      0,          1,          2,          3,       8,          9,          36,
      42,         255,        256,        1 << 16, 0x7FFFFFFF, 0xFFFFFFFF, 1ULL << 32,
      1ULL << 61, 1ULL << 62, 1ULL << 63, ~0ULL,   ~0ULL - 31};
  const uint64_t number = kNumbers[fuzz_random(state) % std::size(kNumbers)];
  const size_t size = fuzz_random(state) % 2 == 0 ? 8 : 4;
  if (end < size) return;
  std::memcpy(bytes.data() + fuzz_random(state) % (end - size + 1), &number, size);
}

// The least offset of the file at which a tensor begins.
size_t data_begin(const fs::path& path) {
  const auto gguf = sinter::frontends::open_gguf(path);
  if (!gguf.ok()) return 0;
  const uint8_t* begin = gguf->files[0]->bytes().data();
  size_t least = gguf->files[0]->size();
  for (const auto& [name, tensor] : gguf->tensors)
    least = std::min(least, static_cast<size_t>(tensor.bytes.data() - begin));
  return least;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL_FOLDER COUNT\n", argv[0]);
    return 2;
  }
  const sinter::frontends::FolderCopy copy(argv[1]);
  const fs::path path = copy.path / "model.gguf";
  const size_t header_size = data_begin(path);
  if (header_size == 0 || !sinter::frontends::open_checkpoint(path).ok()) {
    std::fprintf(stderr, "%s: not a model that opens\n", argv[1]);
    return 2;
  }
  const std::string good = sinter::frontends::read_bytes(path);
  const std::string header = good.substr(0, header_size);
  const std::string data = good.substr(header_size);

  sinter::frontends::FuzzCounts counts;
  uint64_t state = 0x5eed;
  const int64_t count = std::atoll(argv[2]);
  for (int64_t i = 0; i < count; ++i) {
    std::string bad = good;
    switch (fuzz_random(state) % 8) {
      case 0:  // the file ends early
        bad.resize(1 + fuzz_random(state) % (good.size() - 1));
        break;
      case 1:  // the data, scales included
        for (int flip = 0; flip < 16; ++flip) {
          bad[header_size + fuzz_random(state) % data.size()] =
              static_cast<char>(fuzz_random(state));
        }
        break;
      case 2:  // lengths change, so that everything after them moves
        bad = mutate(header, state) + data;
        break;
      default: {
        const size_t changes = 1 + fuzz_random(state) % 3;
        for (size_t change = 0; change < changes; ++change) {
          if (fuzz_random(state) % 3 == 0) {
            bad[fuzz_random(state) % header_size] = static_cast<char>(fuzz_random(state));
          } else {
            replace_number(bad, header_size, state);
          }
        }
        break;
      }
    }
    sinter::frontends::write_bytes(path, bad);
    sinter::frontends::open_and_decode(path, counts);
  }
  return sinter::frontends::finish("fuzz_gguf", counts);
}
