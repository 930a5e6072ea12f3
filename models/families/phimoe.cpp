// PhiMoE (Phi-3.5-MoE): Mixtral with layer norms, biases, LongRoPE with factors of its own, and two
// experts for each token, whose scores are SparseMixer's. Source: transformers
// models/phimoe/modeling_phimoe.py and configuration_phimoe.py; SparseMixer is arXiv:2409.12136.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_phimoe(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  if (!m.ok()) return m.finish(-1);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  d.head_bias = m.flag("lm_head_bias", false);
  const bool bias = m.flag("attention_bias", false);
  const Rope rope = m.rope({.head_dim = d.layers[0].attention.head_dim,
                            .max_positions = d.max_positions,
                            .mscales = true});
  Experts e = read_experts(m);
  m.expect("num_experts_per_tok", 2);
  e.scores = Experts::Scores::sparsemixer;
  e.jitter = m.number("router_jitter_noise", {0, 1});
  m.config().mark_read("input_jitter_noise");  // of training
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.attention.rope = rope;
    layer.feed_forward = feed_forward(e, d.hidden);
  }
  read_windows(m, d, true);
  return build(m, d);
}

Family family_phimoe() {
  return {.model_type = "phimoe",
          .import = import_phimoe,
          .defaults = R"({
    "vocab_size": 32064, "hidden_size": 4096, "intermediate_size": 6400, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "num_experts": 16, "num_experts_per_tok": 2, "router_jitter_noise": 0.01,
    "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}},
          .tensors = {{"block_sparse_moe.switch_mlp", "mlp.experts"},
                      {"block_sparse_moe.experts.*.w1", "mlp.experts.*.gate_proj"},
                      {"block_sparse_moe.experts.*.w3", "mlp.experts.*.up_proj"},
                      {"block_sparse_moe.experts.*.w2", "mlp.experts.*.down_proj"},
                      {"block_sparse_moe.gate", "mlp.gate"},
                      {"mlp.router", "mlp.gate"}}};
}

}  // namespace sinter::models
