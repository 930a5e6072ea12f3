// StableLM 2: layer norms, RoPE on a part of each head, attention and MLP one after the other or
// side by side. Source: transformers models/stablelm/modeling_stablelm.py and
// configuration_stablelm.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_stablelm(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  d.parallel = m.flag("use_parallel_residual", false);
  if (d.parallel) d.norms.before_feed_forward = "";
  const bool qkv_bias = m.flag("use_qkv_bias", false);
  const bool head_norms = m.flag("qk_layernorm", false);
  for (Layer& layer : d.layers) {
    Attention& a = layer.attention;
    a.qkv_bias = qkv_bias;
    a.qk_norm = {.kind = Norm::Kind::layer, .eps = d.norm.eps};
    if (head_norms) a.qk_norms = Attention::HeadNorms::each_head;
    a.q_norm = "self_attn.q_layernorm.norms";
    a.k_norm = "self_attn.k_layernorm.norms";
  }
  return build(m, d);
}

Family family_stablelm() {
  return {.model_type = "stablelm",
          .import = import_stablelm,
          .defaults = R"({
    "vocab_size": 50304, "hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "partial_rotary_factor": 0.25, "tie_word_embeddings": false})",
          .fields = {{"layer_norm_eps", "rms_norm_eps"}}};
}

}  // namespace sinter::models
