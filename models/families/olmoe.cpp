// OLMoE: norms over the whole rows of q and k, experts on every layer.
// Source: transformers models/olmoe/modeling_olmoe.py and configuration_olmoe.py.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_olmoe(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  const double clip = m.number("clip_qkv", {0, 1e6}, 0);
  const bool bias = m.flag("attention_bias", false);
  Experts e = read_experts(m);
  e.normalized = m.flag("norm_topk_prob");
  for (Layer& layer : d.layers) {
    layer.attention.qk_norms = Attention::HeadNorms::row;
    layer.attention.clip = clip;
    layer.attention.clip_after_norm = true;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.feed_forward = feed_forward(e, d.hidden);
  }
  return build(m, d);
}

Family family_olmoe() {
  return {.model_type = "olmoe",
          .import = import_olmoe,
          .defaults = R"({
    "vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 16, "hidden_act": "silu", "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "num_experts": 64, "num_experts_per_tok": 8,
    "norm_topk_prob": false, "tie_word_embeddings": false})",
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
