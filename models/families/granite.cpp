// IBM's Granite: llama with factors on embeddings, scores, what blocks add, and logits.
// Source: transformers models/granite/modeling_granite.py and configuration_granite.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_granite(Importer& m) {
  Decoder d = read_decoder(m);
  d.embedding_scale = m.number("embedding_multiplier");
  d.residual_scale = m.number("residual_multiplier");
  d.logit_scale = 1 / m.number("logits_scaling", {1e-6, 1e6});
  const double scale = m.number("attention_multiplier");
  const bool attention_bias = m.flag("attention_bias");
  const bool mlp_bias = m.flag("mlp_bias");
  for (Layer& layer : d.layers) {
    layer.attention.scale = scale;
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
  }
  return build(m, d);
}

Family family_granite() {
  return {.model_type = "granite", .import = import_granite, .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0, "logits_scaling": 1.0, "attention_multiplier": 1.0,
    "attention_bias": false, "mlp_bias": false})"};
}

}  // namespace sinter::models
