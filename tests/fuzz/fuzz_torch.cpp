// Damages the pickle and the archive of a small PyTorch file and opens the result.
// Usage: fuzz_torch COUNT
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/frontends/torch_writer.h"
#include "tests/fuzz/checkpoint_fuzz.h"
#include "tests/fuzz/mutate.h"

namespace {

using namespace sinter::frontends;

// Opcodes, so that mutants get past the first unknown one.
void replace_opcode(std::string& pickle, uint64_t& state) {
  static constexpr char kOpcodes[] =
      "(tRQbuseaqrhjK]}).NXJMcG\x85\x86\x87\x88\x89\x8A\x8C\x93\x94\x95";
  const size_t at = fuzz_random(state) % pickle.size();
  const char opcode = kOpcodes[fuzz_random(state) % (sizeof(kOpcodes) - 1)];
  if (fuzz_random(state) % 2 == 0) {
    pickle[at] = opcode;
  } else {
    pickle.insert(at, 1, opcode);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s COUNT\n", argv[0]);
    return 2;
  }
  const std::string pickle =
      pickle_state_dict({{"model.a.weight", "FloatStorage", "0", 12, 0, {4, 3}, {3, 1}},
                         {"model.b.weight", "HalfStorage", "1", 8, 2, {6}, {1}},
                         {"model.c.weight", "BFloat16Storage", "1", 8, 0, {2, 4}, {4, 1}},
                         {"model.d", "LongStorage", "2", 1, 0, {}, {}}});
  const std::vector<TorchStorage> storages = {
      {"0", std::string(48, '\x11')}, {"1", std::string(16, '\x22')}, {"2", std::string(8, '\0')}};

  std::string name = (std::filesystem::temp_directory_path() / "sinter-fuzz-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) return 2;
  const std::filesystem::path folder = name;
  const std::filesystem::path path = folder / "pytorch_model.bin";
  write_bytes(folder / "config.json", "{}");
  write_bytes(path, torch_bytes(pickle, storages));
  if (!open_checkpoint(folder).ok()) {
    std::fprintf(stderr, "the seed does not open\n");
    return 2;
  }

  FuzzCounts counts;
  uint64_t state = 0x5eed;
  const int64_t count = std::atoll(argv[1]);
  for (int64_t i = 0; i < count; ++i) {
    const bool zip64 = fuzz_random(state) % 2 == 0;
    std::string bad;
    switch (fuzz_random(state) % 4) {
      case 0:  // the archive
        bad = mutate(torch_bytes(pickle, storages, zip64), state);
        break;
      case 1: {  // its directory and the records after it
        bad = torch_bytes(pickle, storages, zip64);
        const size_t directory = bad.find("PK\x01\x02");
        const size_t changes = 1 + fuzz_random(state) % 3;
        for (size_t change = 0; change < changes; ++change) {
          bad[directory + fuzz_random(state) % (bad.size() - directory)] =
              static_cast<char>(fuzz_random(state) % 3 == 0 ? 0xFF : fuzz_random(state));
        }
        break;
      }
      case 2:
        bad = torch_bytes(mutate(pickle, state), storages, zip64);
        break;
      default: {
        std::string mutant = pickle;
        const size_t changes = 1 + fuzz_random(state) % 3;
        for (size_t change = 0; change < changes; ++change) replace_opcode(mutant, state);
        bad = torch_bytes(mutant, storages, zip64);
        break;
      }
    }
    if (bad.empty()) bad = "x";
    write_bytes(path, bad);
    open_and_decode(folder, counts);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return finish("fuzz_torch", counts);
}
