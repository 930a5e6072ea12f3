// A GGUF file: tensors, metadata as a configuration, tokenizer.
#include <cstring>
#include <iterator>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/use_model.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace sinter::fuzz {

void use(std::string_view input) {
  static MemoryFolder folder;
  use_checkpoint(folder.write("model.gguf", input));
}

}  // namespace sinter::fuzz

// A third of the changes put a number that is often wrong over eight or four bytes: counts, types,
// extents and offsets are such.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  static constexpr uint64_t kNumbers[] = {
      0,          1,          2,          3,       8,          9,          36,
      42,         255,        256,        1 << 16, 0x7FFFFFFF, 0xFFFFFFFF, 1ULL << 32,
      1ULL << 61, 1ULL << 62, 1ULL << 63, ~0ULL,   ~0ULL - 31};
  uint64_t state = seed * 2ULL + 1;
  if (size < 8 || next_random(state) % 3 != 0) return LLVMFuzzerMutate(data, size, max_size);
  const size_t bytes = next_random(state) % 2 == 0 ? 8 : 4;
  const uint64_t number = kNumbers[next_random(state) % std::size(kNumbers)];
  std::memcpy(data + next_random(state) % (size - bytes + 1), &number, bytes);
  return size;
}
