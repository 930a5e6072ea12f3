// pytorch_model.bin. The first byte of an input says what follows: an archive, or ("p") a pickle
// that is put into one with three storages.
#include <string>

#include "tests/frontends/torch/writer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  static MemoryFolder folder;
  if (input.empty()) return;
  folder.write("config.json", R"({"model_type": "llama", "vocab_size": 4})");
  const bool is_pickle = input.front() == 'p';
  input.remove_prefix(1);
  folder.write("pytorch_model.bin",
               is_pickle
                   ? frontends::torch_bytes(std::string(input), {{"0", std::string(48, '\x11')},
                                                                 {"1", std::string(16, '\x22')},
                                                                 {"2", std::string(8, '\0')}})
                   : std::string(input));
  use_checkpoint(folder.path());
}

}  // namespace sinter::fuzz
