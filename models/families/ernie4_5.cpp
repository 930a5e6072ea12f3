// ERNIE 4.5 (dense): llama whose RoPE turns adjacent pairs.
// Source: transformers models/ernie4_5/modeling_ernie4_5.py and configuration_ernie4_5.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_ernie4_5(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("use_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.attention.rope->interleaved = true;
    layer.mlp.bias = bias;
  }
  return build(m, d);
}

Family family_ernie4_5() {
  return {.model_type = "ernie4_5", .import = import_ernie4_5, .defaults = R"({
    "vocab_size": 103424, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
    "tie_word_embeddings": true})"};
}

}  // namespace sinter::models
