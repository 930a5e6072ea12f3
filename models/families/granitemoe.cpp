// IBM's Granite with experts, gate and up of which are one matrix: scores are shares of those
// chosen. Source: transformers models/granitemoe/modeling_granitemoe.py and
// configuration_granitemoe.py.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_granitemoe(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  d.embedding_scale = m.number("embedding_multiplier");
  d.residual_scale = m.number("residual_multiplier");
  d.logit_scale = 1 / m.number("logits_scaling", {1e-6, 1e6});
  const double scale = m.number("attention_multiplier");
  const bool bias = m.flag("attention_bias", false);
  Experts e = read_experts(m);
  e.scores = Experts::Scores::softmax_of_chosen;
  for (Layer& layer : d.layers) {
    layer.attention.scale = scale;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.feed_forward = feed_forward(e, d.hidden);
  }
  return build(m, d);
}

Family family_granitemoe() {
  return {.model_type = "granitemoe",
          .import = import_granitemoe,
          .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0, "logits_scaling": 1.0, "attention_multiplier": 1.0,
    "num_experts": 8, "num_experts_per_tok": 2, "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}},
          .tensors = {{"block_sparse_moe.input_linear", "mlp.experts.gate_up_proj"},
                      {"block_sparse_moe.output_linear", "mlp.experts.down_proj"},
                      {"block_sparse_moe.router.layer", "mlp.gate"},
                      {"block_sparse_moe.router", "mlp.gate"},
                      {"block_sparse_moe.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
