// Arcee's AFM: llama with an MLP of two matrices and squared ReLU.
// Source: transformers models/arcee/modeling_arcee.py and configuration_arcee.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_arcee(Importer& m) {
  Decoder d = read_decoder(m);
  const bool attention_bias = m.flag("attention_bias", false);
  const bool mlp_bias = m.flag("mlp_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
    layer.mlp.gated = false;
    layer.mlp.bias = mlp_bias;
  }
  return build(m, d);
}

Family family_arcee() {
  return {.model_type = "arcee", .import = import_arcee, .defaults = R"({
    "vocab_size": 32000, "hidden_size": 2560, "intermediate_size": 18432, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "relu2", "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
