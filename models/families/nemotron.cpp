// Nemotron: layer norms whose weights are stored less 1, RoPE on a part of each head, an MLP of two
// matrices with squared ReLU.
// Source: transformers models/nemotron/modeling_nemotron.py and configuration_nemotron.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_nemotron(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  d.norm.less_one = true;
  const bool attention_bias = m.flag("attention_bias", false);
  const bool mlp_bias = m.flag("mlp_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
    layer.mlp.gated = false;
    layer.mlp.bias = mlp_bias;
  }
  return build(m, d);
}

Family family_nemotron() {
  return {.model_type = "nemotron",
          .import = import_nemotron,
          .defaults = R"({
    "vocab_size": 256000, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 32,
    "num_attention_heads": 48, "hidden_act": "relu2", "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "partial_rotary_factor": 0.5,
    "tie_word_embeddings": false})",
          .fields = {{"norm_eps", "rms_norm_eps"}}};
}

}  // namespace sinter::models
