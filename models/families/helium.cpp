// Helium: llama whose RoPE turns adjacent pairs.
// Source: transformers models/helium/modeling_helium.py and configuration_helium.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_helium(Importer& m) {
  Decoder d = read_decoder(m);
  const bool attention_bias = m.flag("attention_bias", false);
  const bool mlp_bias = m.flag("mlp_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = attention_bias;
    layer.attention.rope->interleaved = true;
    layer.mlp.bias = mlp_bias;
  }
  return build(m, d);
}

Family family_helium() {
  return {.model_type = "helium", .import = import_helium, .defaults = R"({
    "vocab_size": 48000, "hidden_size": 2560, "intermediate_size": 7040, "num_hidden_layers": 24,
    "num_attention_heads": 20, "num_key_value_heads": 20, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-8, "rope_theta": 1e5,
    "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
