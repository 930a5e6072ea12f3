// nanochat: norms without weights, also of the embedding and, after RoPE, of the heads of q and k;
// an MLP of two matrices with squared ReLU; capped logits. Source: transformers
// models/nanochat/modeling_nanochat.py and configuration_nanochat.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_nanochat(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.has_weight = false;
  d.norm_embedding = true;
  d.logit_cap = m.number("final_logit_softcapping", {0, 1e6}, 0);
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    Attention& a = layer.attention;
    a.qk_norms = Attention::HeadNorms::head;
    a.qk_norm = d.norm;
    a.norm_after_rope = true;
    a.qkv_bias = a.output_bias = bias;
    // Its rotation goes the other way round.
    for (float& frequency : a.rope->inv_freq) frequency = -frequency;
    layer.mlp.gated = false;
  }
  return build(m, d);
}

Family family_nanochat() {
  return {.model_type = "nanochat",
          .import = import_nanochat,
          .defaults = R"({
    "vocab_size": 50304, "hidden_size": 768, "intermediate_size": 8192, "num_hidden_layers": 12,
    "num_attention_heads": 6, "hidden_act": "relu2", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "final_logit_softcapping": 15.0,
    "tie_word_embeddings": false})",
          .tensors = {{"mlp.fc1", "mlp.up_proj"}, {"mlp.fc2", "mlp.down_proj"}}};
}

}  // namespace sinter::models
