// DeepSeek-V2, DeepSeek-V3 and GLM-4.7-Flash: latent attention, and mixtures of experts of groups.
// The same mixtures with attention of heads: dots.llm1 and GLM-4.5. Source: transformers
// models/deepseek_v2, models/deepseek_v3, models/glm4_moe_lite, models/dots1 and models/glm4_moe.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/latent_attention.h"
#include "models/blocks/sparse_layers.h"
#include "models/family.h"

namespace sinter::models {

// MLX has experts stacked; a GGUF file calls the correction the router's bias.
static const std::vector<Rename> kTensors = {
    {"mlp.switch_mlp", "mlp.experts"},
    {"mlp.gate.e_score_correction.bias", "mlp.gate.e_score_correction_bias"}};

static absl::StatusOr<ir::Module> import_dots1(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qk_norms = Attention::HeadNorms::head;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
  }
  read_late_experts(m, d, read_deepseek_experts(m));
  read_windows(m, d, false);
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_glm4_moe(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("attention_bias", false);
  const bool head_norms = m.flag("use_qk_norm", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = bias;
    if (head_norms) layer.attention.qk_norms = Attention::HeadNorms::head;
  }
  read_late_experts(m, d, read_deepseek_experts(m));
  return build(m, d);
}

// A decoder whose layers have latent attention.
static Decoder read_latent_decoder(Importer& m) {
  LatentAttention a = read_latent_attention(m);
  read_latent_rope(m, a);
  m.derive("head_dim", a.shared_dim);
  Decoder d = read_decoder(m);
  for (Layer& layer : d.layers)
    layer.mixer = [a, hidden = d.hidden](Importer& m, ir::ValueId x, const std::string& name) {
      return latent_attention(m, a, x, name, hidden);
    };
  return d;
}

static absl::StatusOr<ir::Module> import_deepseek_v2(Importer& m) {
  m.expect("rope_interleave", true);
  Decoder d = read_latent_decoder(m);
  const bool bias = m.flag("mlp_bias", false);
  d.for_each_mlp([&](Mlp& mlp) { mlp.bias = bias; });
  read_late_experts(m, d, read_deepseek_v2_experts(m));
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_deepseek_v3(Importer& m) {
  Decoder d = read_latent_decoder(m);
  read_late_experts(m, d, read_deepseek_experts(m));
  return build(m, d);
}

Family family_deepseek_v2() {
  return {.model_type = "deepseek_v2",
          .import = import_deepseek_v2,
          .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 64,
    "n_shared_experts": 2, "moe_intermediate_size": 1407, "topk_method": "greedy",
    "routed_scaling_factor": 1.0, "norm_topk_prob": false, "first_k_dense_replace": 0,
    "tie_word_embeddings": false})",
          .fields = {{"n_routed_experts", "num_experts"}},
          .tensors = kTensors};
}

Family family_deepseek_v3() {
  return {.model_type = "deepseek_v3",
          .import = import_deepseek_v3,
          .defaults = R"({
    "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
    "num_attention_heads": 128, "hidden_act": "silu", "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 256,
    "num_experts_per_tok": 8, "n_shared_experts": 1, "moe_intermediate_size": 2048, "n_group": 8,
    "topk_group": 4, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
    "first_k_dense_replace": 3, "tie_word_embeddings": false})",
          .fields = {{"n_routed_experts", "num_experts"}},
          .tensors = kTensors};
}

Family family_glm4_moe_lite() {
  return {.model_type = "glm4_moe_lite",
          .import = import_deepseek_v3,
          .defaults = R"({
    "vocab_size": 154880, "hidden_size": 2048, "intermediate_size": 10240, "num_hidden_layers": 47,
    "num_attention_heads": 20, "hidden_act": "silu", "max_position_embeddings": 202752,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "q_lora_rank": 768, "kv_lora_rank": 512,
    "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256, "num_experts": 64,
    "num_experts_per_tok": 4, "n_shared_experts": 1, "moe_intermediate_size": 1536, "n_group": 1,
    "topk_group": 1, "routed_scaling_factor": 1.8, "norm_topk_prob": true,
    "first_k_dense_replace": 1, "tie_word_embeddings": false})",
          .fields = {{"n_routed_experts", "num_experts"}},
          .tensors = kTensors};
}

Family family_dots1() {
  return {.model_type = "dots1",
          .import = import_dots1,
          .defaults = R"({
    "vocab_size": 152064, "hidden_size": 4608, "intermediate_size": 10944, "num_hidden_layers": 62,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "moe_intermediate_size": 1408, "norm_topk_prob": false, "routed_scaling_factor": 1.0,
    "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, "tie_word_embeddings": false})",
          .fields = {{"n_routed_experts", "num_experts"}},
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

Family family_glm4_moe() {
  return {.model_type = "glm4_moe",
          .import = import_glm4_moe,
          .defaults = R"({
    "vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 10944, "num_hidden_layers": 46,
    "num_attention_heads": 96, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "partial_rotary_factor": 0.5, "num_experts": 128, "num_experts_per_tok": 8,
    "moe_intermediate_size": 1408, "n_shared_experts": 1, "norm_topk_prob": true,
    "routed_scaling_factor": 1.0, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
    "tie_word_embeddings": false})",
          .fields = {{"n_routed_experts", "num_experts"}},
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
