// Phi-3 and Phi-4: llama whose q, k and v are one matrix, and gate and up another.
// Source: transformers models/phi3/modeling_phi3.py and configuration_phi3.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_phi3(Importer& m) {
  Decoder d = read_decoder(m);
  for (Layer& layer : d.layers) {
    layer.attention.packing = Attention::Packing::blocks;
    layer.mlp.packed = true;
  }
  read_windows(m, d, true);
  return build(m, d);
}

Family family_phi3() {
  return {.model_type = "phi3", .import = import_phi3, .defaults = R"({
    "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1e4})"};
}

}  // namespace sinter::models
