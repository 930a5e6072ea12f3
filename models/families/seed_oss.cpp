// Seed-OSS: llama with biases on q, k and v.
// Source: transformers models/seed_oss/modeling_seed_oss.py and configuration_seed_oss.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_seed_oss(Importer& m) {
  Decoder d = read_decoder(m);
  const bool qkv_bias = m.flag("attention_bias");
  const bool output_bias = m.flag("attention_out_bias");
  const bool mlp_bias = m.flag("mlp_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = qkv_bias;
    layer.attention.output_bias = output_bias;
    layer.mlp.bias = mlp_bias;
  }
  return build(m, d);
}

Family family_seed_oss() {
  return {.model_type = "seed_oss", .import = import_seed_oss, .defaults = R"({
    "vocab_size": 155136, "hidden_size": 4096, "intermediate_size": 27648, "num_hidden_layers": 64,
    "num_attention_heads": 80, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 524288, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "attention_bias": true, "attention_out_bias": false, "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
