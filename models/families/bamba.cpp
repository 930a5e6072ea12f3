// Bamba: Mamba-2 on most layers, on some attention with RoPE on half of each head; an MLP on all.
// Source: transformers models/bamba.
#include <set>

#include "models/blocks/decoder.h"
#include "models/blocks/state_space.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_bamba(Importer& m) {
  Decoder d = read_decoder(m);
  d.norms.before_feed_forward = "pre_ff_layernorm";
  Mamba2 s = read_mamba2(m, expanded(m, d.hidden));
  s.in_bias = s.out_bias = m.flag("mamba_proj_bias");
  s.act = find_activation(m, "hidden_act");
  s.norm = d.norm;
  s.module = "mamba.";
  const bool attention_bias = m.flag("attention_bias", false);
  const bool mlp_bias = m.flag("mlp_bias", false);
  std::set<int64_t> attention;  // layers that have it
  if (const auto* list = m.config().find("attn_layer_indices"); list != nullptr && m.ok()) {
    const auto indices =
        m.integers("attn_layer_indices", list->is_array() ? static_cast<int64_t>(list->size()) : 0,
                   {0, static_cast<int64_t>(d.layers.size()) - 1});
    attention.insert(indices.begin(), indices.end());
  }
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
    if (!attention.contains(static_cast<int64_t>(i))) layer.mixer = mixer(s, d.hidden);
  }
  return build(m, d);
}

Family family_bamba() {
  return {.model_type = "bamba",
          .import = import_bamba,
          .defaults = R"({
    "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_act": "silu", "max_position_embeddings": 262144, "rms_norm_eps": 1e-5,
    "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mamba_n_heads": 128, "mamba_d_head": "auto",
    "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
    "mamba_conv_bias": true, "mamba_proj_bias": false, "tie_word_embeddings": false})",
          .tensors = {{"model.final_layernorm", "model.norm"}, {"feed_forward", "mlp"}}};
}

}  // namespace sinter::models
