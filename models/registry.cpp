#include "models/registry.h"

namespace sinter::models {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      {"qwen3", import_qwen3, qwen3_defaults},
      {"llama", import_llama, llama_defaults},
      {"bitnet", import_bitnet, bitnet_defaults},
  };
  return table;
}

}  // namespace sinter::models
