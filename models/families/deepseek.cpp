// What DeepSeek-V3's mixtures have, with attention of heads: dots.llm1 and GLM-4.5.
// Source: transformers models/dots1 and models/glm4_moe.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/sparse_layers.h"
#include "models/family.h"

namespace sinter::models {

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
