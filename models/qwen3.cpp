// Qwen3 (dense), Bonsai: llama with RMS norm on the heads of q and k, before RoPE.
// Source: transformers models/qwen3/modeling_qwen3.py.
#include "models/decoder.h"
#include "models/registry.h"

namespace sinter::models {

absl::StatusOr<ir::Module> import_qwen3(Importer& m) {
  return import_decoder(
      m,
      {.qk_norm = true, .attention_bias = m.flag_or("attention_bias", false), .mlp_bias = false});
}

}  // namespace sinter::models
