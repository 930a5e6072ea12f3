// A safetensors file as it is, and as the weights of a folder.
#include <algorithm>
#include <cstring>
#include <string>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/mutate_json.h"
#include "tests/fuzz/use_model.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace sinter::fuzz {

void use(std::string_view input) {
  static MemoryFolder folder;
  folder.write("config.json", R"({"model_type": "llama", "vocab_size": 4})");
  folder.write("model.safetensors", input);
  use_checkpoint(folder.path());
}

}  // namespace sinter::fuzz

// Half of the changes leave the header's length right.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  constexpr size_t kLengthBytes = 8;
  uint64_t state = seed * 2ULL + 1;
  uint64_t length = 0;
  if (size > kLengthBytes) std::memcpy(&length, data, kLengthBytes);
  if (size <= kLengthBytes || length > size - kLengthBytes || next_random(state) % 2 == 0)
    return LLVMFuzzerMutate(data, size, max_size);
  const std::string all(reinterpret_cast<const char*>(data), size);
  const std::string old = all.substr(kLengthBytes, length);
  const std::string header =
      next_random(state) % 2 == 0 ? mutate(old, state) : sinter::fuzz::mutate_json(old, state);
  const std::string tensors = all.substr(kLengthBytes + length);
  std::string changed(kLengthBytes, '\0');
  length = header.size();
  std::memcpy(changed.data(), &length, kLengthBytes);
  changed += header + tensors;
  const size_t kept = std::min(changed.size(), max_size);
  std::memcpy(data, changed.data(), kept);
  return kept;
}
