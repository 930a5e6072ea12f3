// Llama 2 and 3, and what is published under its name.
// Source: transformers models/llama/modeling_llama.py.
#include "models/decoder.h"
#include "models/registry.h"

namespace sinter::models {

absl::StatusOr<ir::Module> import_llama(Importer& m) {
  return import_decoder(m, {.qk_norm = false,
                            .attention_bias = m.flag_or("attention_bias", false),
                            .mlp_bias = m.flag_or("mlp_bias", false),
                            // 1bitLLM's BitNet models call themselves llama.
                            .sub_norms = m.config().contains("weight_bits")});
}

}  // namespace sinter::models
