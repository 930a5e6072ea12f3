// Llama 2 and 3, and what is published under its name.
// Source: transformers models/llama/modeling_llama.py and configuration_llama.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_llama(Importer& m) {
  Decoder d = read_decoder(m);
  const bool attention_bias = m.flag("attention_bias");
  const bool mlp_bias = m.flag("mlp_bias", false);
  // 1bitLLM's BitNet models call themselves llama.
  const bool sub_norms = m.config().find("weight_bits") != nullptr;
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
    if (sub_norms) layer.attention.output_norm = layer.mlp.norm = d.norm;
  }
  read_windows(m, d, false);
  return build(m, d);
}

Family family_llama() {
  return {.model_type = "llama", .import = import_llama, .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "attention_bias": false, "mlp_bias": false})"};
}

}  // namespace sinter::models
