// Qwen2-MoE and Qwen3-MoE: Qwen's attention, and experts on all layers, every
// decoder_sparse_step-th, or all but those that mlp_only_layers lists. Source: transformers
// models/qwen2_moe and models/qwen3_moe.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/sparse_layers.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_qwen3_moe(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qk_norms = Attention::HeadNorms::head;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
  }
  Experts e = read_experts(m);
  e.normalized = m.flag("norm_topk_prob");
  read_sparse_layers(m, d, e);
  read_late_windows(m, d);
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_qwen2_moe(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("qkv_bias");
  for (Layer& layer : d.layers) layer.attention.qkv_bias = bias;
  read_sparse_layers(m, d, read_qwen_experts(m));
  read_late_windows(m, d);
  return build(m, d);
}

Family family_qwen3_moe() {
  return {.model_type = "qwen3_moe",
          .import = import_qwen3_moe,
          .defaults = R"({
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24,
    "num_attention_heads": 32, "num_key_value_heads": 4, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
    "norm_topk_prob": false, "decoder_sparse_step": 1, "tie_word_embeddings": false})",
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

Family family_qwen2_moe() {
  return {.model_type = "qwen2_moe",
          .import = import_qwen2_moe,
          .defaults = R"({
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
    "num_attention_heads": 16, "num_key_value_heads": 16, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632, "norm_topk_prob": false, "decoder_sparse_step": 1,
    "qkv_bias": true, "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
    "tie_word_embeddings": false})",
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
