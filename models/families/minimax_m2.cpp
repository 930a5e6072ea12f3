// MiniMax-M2: norms over the whole rows of q and k, RoPE on a part of each head, experts on every
// layer that are chosen by sigmoids with a correction. Source: transformers models/minimax_m2.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_minimax_m2(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  const int64_t head_dim = m.integer("head_dim", {1, 65536}, 128);
  if (m.config().has("rotary_dim"))
    m.derive("partial_rotary_factor",
             static_cast<double>(m.integer("rotary_dim", kSize)) / static_cast<double>(head_dim));
  Decoder d = read_decoder(m);
  m.expect("scoring_func", "sigmoid");
  m.expect("use_routing_bias", true);
  const bool norms = m.flag("use_qk_norm", true);
  Experts e = read_experts(m);
  e.scores = Experts::Scores::sigmoid;
  e.correction = "mlp.e_score_correction_bias";
  e.normalized = true;
  for (Layer& layer : d.layers) {
    if (norms) layer.attention.qk_norms = Attention::HeadNorms::row;
    layer.feed_forward = feed_forward(e, d.hidden);
  }
  return build(m, d);
}

Family family_minimax_m2() {
  return {.model_type = "minimax_m2",
          .import = import_minimax_m2,
          .defaults = R"({
    "vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 1536, "num_hidden_layers": 62,
    "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 196608, "rms_norm_eps": 1e-6, "rope_theta": 5e6,
    "num_experts": 256, "num_experts_per_tok": 8, "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}},
          .tensors = {{"block_sparse_moe.switch_mlp", "mlp.experts"},
                      {"block_sparse_moe.experts.*.w1", "mlp.experts.*.gate_proj"},
                      {"block_sparse_moe.experts.*.w3", "mlp.experts.*.up_proj"},
                      {"block_sparse_moe.experts.*.w2", "mlp.experts.*.down_proj"},
                      {"block_sparse_moe.e_score_correction_bias", "mlp.e_score_correction_bias"},
                      {"block_sparse_moe.gate", "mlp.gate"}}};
}

}  // namespace sinter::models
