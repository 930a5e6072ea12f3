// GPT-NeoX and Pythia: attention and an MLP of two matrices side by side, each after a layer norm
// of its own; query, key and value of a head are stored together. Source: transformers
// models/gpt_neox/modeling_gpt_neox.py and configuration_gpt_neox.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_gpt_neox(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  d.parallel = m.flag("use_parallel_residual");
  const bool bias = m.flag("attention_bias");
  for (Layer& layer : d.layers) {
    layer.attention.packing = Attention::Packing::heads;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.mlp.gated = false;
    layer.mlp.bias = true;
  }
  return build(m, d);
}

Family family_gpt_neox() {
  return {.model_type = "gpt_neox",
          .import = import_gpt_neox,
          .defaults = R"({
    "vocab_size": 50432, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 44,
    "num_attention_heads": 64, "hidden_act": "gelu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "partial_rotary_factor": 0.25,
    "use_parallel_residual": true, "attention_bias": true, "tie_word_embeddings": false})",
          .fields = {{"layer_norm_eps", "rms_norm_eps"},
                     {"rotary_pct", "partial_rotary_factor"},
                     {"rotary_emb_base", "rope_theta"}},
          .tensors = {{"^gpt_neox.embed_in", "model.embed_tokens"},
                      {"^gpt_neox.final_layer_norm", "model.norm"},
                      {"^gpt_neox.layers", "model.layers"},
                      {"^embed_out", "lm_head"},
                      {"attention.query_key_value", "self_attn.qkv_proj"},
                      {"attention.dense", "self_attn.o_proj"},
                      {"mlp.dense_h_to_4h", "mlp.up_proj"},
                      {"mlp.dense_4h_to_h", "mlp.down_proj"}},
          .skipped = {"attention.rotary_emb", "attention.bias", "attention.masked_bias"}};
}

}  // namespace sinter::models
