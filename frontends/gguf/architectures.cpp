#include "frontends/gguf/architectures.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace sinter::frontends {

namespace {

constexpr std::array<GgufTensorName, 5> kModelTensors = {{
    {"token_embd", "model.embed_tokens"},
    {"position_embd", "model.embed_positions"},
    {"output_norm", "model.norm"},
    {"token_embd_norm", "model.norm"},  // of LFM2, whose file calls it the embedding's
    {"output", "lm_head"},
}};

// "blk.N." and "model.layers.N." before them.
constexpr std::array<GgufTensorName, 27> kLayerTensors = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_sinks", "self_attn.sinks"},
    {"attn_sub_norm", "self_attn.attn_sub_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_sub_norm", "mlp.ffn_sub_norm"},
    {"ffn_gate_inp", "mlp.gate"},
    {"exp_probs_b", "mlp.gate.e_score_correction"},
    {"ffn_gate_exps", "mlp.experts.gate_proj"},
    {"ffn_up_exps", "mlp.experts.up_proj"},
    {"ffn_gate_up_exps", "mlp.experts.gate_up_proj"},
    {"ffn_down_exps", "mlp.experts.down_proj"},
    {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
    {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
    {"ffn_down_shexp", "mlp.shared_expert.down_proj"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
}};

using Kind = GgufField::Kind;

constexpr GgufField kExperts = {"expert_count", "num_experts"};
constexpr GgufField kChosen = {"expert_used_count", "num_experts_per_tok"};
constexpr GgufField kExpertWidth = {"expert_feed_forward_length", "moe_intermediate_size"};
constexpr GgufField kNormalized = {"expert_weights_norm", "norm_topk_prob", Kind::flag, false};
constexpr GgufField kOptionalWindow = {"attention.sliding_window", "sliding_window", Kind::window,
                                       false};

const std::vector<GgufTensorName> kFourNorms = {{"post_attention_norm", "post_attention_layernorm"},
                                                {"ffn_norm", "pre_feedforward_layernorm"},
                                                {"post_ffw_norm", "post_feedforward_layernorm"}};

const std::vector<GgufTensorName> kHybrid = {{"attn_qkv", "linear_attn.in_proj_qkv"},
                                             {"attn_gate", "linear_attn.in_proj_z"},
                                             {"ssm_alpha", "linear_attn.in_proj_a"},
                                             {"ssm_beta", "linear_attn.in_proj_b"},
                                             {"ssm_ba", "linear_attn.in_proj_ba"},
                                             {"ssm_conv1d", "linear_attn.conv1d"},
                                             {"ssm_a", "linear_attn.A"},
                                             {"ssm_dt", "linear_attn.dt"},
                                             {"ssm_norm", "linear_attn.norm"},
                                             {"ssm_out", "linear_attn.out_proj"}};
const std::vector<GgufField> kHybridFields = {
    {"ssm.conv_kernel", "linear_conv_kernel_dim"},
    {"ssm.state_size", "linear_key_head_dim"},
    {"ssm.group_count", "linear_num_key_heads"},
    {"ssm.time_step_rank", "linear_num_value_heads"},
    {"ssm.inner_size", "linear_inner_size"},
    {"full_attention_interval", "full_attention_interval", Kind::integer, false}};

const std::vector<GgufTensorName> kConvolutions = {
    {"attn_norm", "operator_norm"},           {"ffn_norm", "ffn_norm"},
    {"attn_output", "self_attn.out_proj"},    {"attn_q_norm", "self_attn.q_layernorm"},
    {"attn_k_norm", "self_attn.k_layernorm"}, {"shortconv.in_proj", "conv.in_proj"},
    {"shortconv.conv", "conv.conv"},          {"shortconv.out_proj", "conv.out_proj"},
    {"exp_probs_b", "mlp.expert_correction"}};

const std::vector<GgufTensorName> kLatent = {
    {"attn_q_a", "self_attn.q_a_proj"},
    {"attn_q_a_norm", "self_attn.q_a_layernorm"},
    {"attn_q_b", "self_attn.q_b_proj"},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
    {"attn_kv_b", "self_attn.kv_b_proj"},
    {"attn_k_b", "self_attn.k_b_proj"},  // of each head, transposed
    {"attn_v_b", "self_attn.v_b_proj"},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj"}};

const std::vector<GgufTensorName> kStateSpace = {{"ffn_norm", "pre_ff_layernorm"},
                                                 {"ssm_in", "mamba.in_proj"},
                                                 {"ssm_conv1d", "mamba.conv1d"},
                                                 {"ssm_a", "mamba.A"},
                                                 {"ssm_d", "mamba.D"},
                                                 {"ssm_dt", "mamba.dt"},
                                                 {"ssm_norm", "mamba.norm"},
                                                 {"ssm_out", "mamba.out_proj"}};

std::vector<GgufField> with_experts(std::vector<GgufField> fields) {
  fields.insert(fields.end(),
                {kExperts,
                 kChosen,
                 kExpertWidth,
                 {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"}});
  return fields;
}

}  // namespace

// Source: the conversion scripts and LLM_ARCH_NAMES of ggml-org/llama.cpp.
const std::vector<GgufArchitecture>& gguf_architectures() {
  static const std::vector<GgufArchitecture> table = {
      {.name = "llama",
       .model_type = "llama",
       .other_model_type = "mixtral",
       .interleaved_heads = true,
       .fields = {{"expert_count", "num_experts", Kind::integer, false},
                  {"expert_used_count", "num_experts_per_tok", Kind::integer, false}}},
      {.name = "qwen2", .model_type = "qwen2"},
      {.name = "qwen3", .model_type = "qwen3"},
      // 1bitLLM's models, and Microsoft's.
      {.name = "bitnet", .model_type = "bitnet"},
      {.name = "bitnet-b1.58", .model_type = "bitnet", .constants = R"({"hidden_act": "relu2"})"},
      {.name = "qwen2moe",
       .model_type = "qwen2_moe",
       .fields = with_experts({}),
       .constants = R"({"hidden_act": "silu", "norm_topk_prob": false})"},
      {.name = "qwen3moe",
       .model_type = "qwen3_moe",
       .fields = {kExperts, kChosen, kExpertWidth, kNormalized},
       .constants = R"({"hidden_act": "silu", "norm_topk_prob": true})"},
      {.name = "olmoe",
       .model_type = "olmoe",
       .fields = {kExperts, kChosen},
       .constants = R"({"hidden_act": "silu", "norm_topk_prob": false})"},
      {.name = "phi3",
       .model_type = "phi3",
       .partial_rope = true,
       .windows = true,
       .fields = {kOptionalWindow},
       .tensors = {{"ffn_up", "mlp.gate_up_proj"}}},
      {.name = "gemma",
       .model_type = "gemma",
       .constants = R"({"hidden_act": "gelu_pytorch_tanh", "norms_have_one": true})"},
      {.name = "gemma2",
       .model_type = "gemma2",
       .windows = true,
       .fields = {{"attention.sliding_window", "sliding_window", Kind::window},
                  {"attn_logit_softcapping", "attn_logit_softcapping", Kind::number, false},
                  {"final_logit_softcapping", "final_logit_softcapping", Kind::number, false}},
       .tensors = kFourNorms,
       .constants = R"({"hidden_act": "gelu_pytorch_tanh", "norms_have_one": true})"},
      {.name = "gemma3",
       .model_type = "gemma3_text",
       .windows = true,
       .fields = {{"attention.sliding_window", "sliding_window", Kind::window},
                  {"attention.sliding_window_pattern", "sliding_window_pattern", Kind::integer,
                   false},
                  {"rope.freq_base_swa", "rope_local_base_freq", Kind::number, false},
                  {"final_logit_softcapping", "final_logit_softcapping", Kind::number, false}},
       .tensors = kFourNorms,
       .constants = R"({"hidden_act": "gelu_pytorch_tanh", "norms_have_one": true})"},
      {.name = "olmo2", .model_type = "olmo2"},
      {.name = "cohere2",
       .model_type = "cohere2",
       .layer_norms = true,
       .windows = true,
       .fields = {{"attention.sliding_window", "sliding_window", Kind::window},
                  {"logit_scale", "logit_scale", Kind::number}}},
      {.name = "glm4",
       .model_type = "glm4",
       .partial_rope = true,
       .tensors = {{"post_attention_norm", "post_self_attn_layernorm"},
                   {"ffn_norm", "post_attention_layernorm"},
                   {"post_ffw_norm", "post_mlp_layernorm"},
                   {"ffn_up", "mlp.gate_up_proj"}}},
      {.name = "granite",
       .model_type = "granite",
       .interleaved_heads = true,
       .fields = {{"embedding_scale", "embedding_multiplier", Kind::number, false},
                  {"residual_scale", "residual_multiplier", Kind::number, false},
                  {"attention.scale", "attention_multiplier", Kind::number, false},
                  {"logit_scale", "logits_scaling", Kind::number, false}}},
      {.name = "gpt-oss",
       .model_type = "gpt_oss",
       .windows = true,
       .fields = {kExperts,
                  kChosen,
                  kExpertWidth,
                  {"attention.sliding_window", "sliding_window", Kind::window}},
       .tensors = {{"ffn_gate_inp", "mlp.router"}}},
      {.name = "starcoder2",
       .model_type = "starcoder2",
       .layer_norms = true,
       .constants = R"({"hidden_act": "gelu_pytorch_tanh", "use_bias": true})"},
      {.name = "stablelm",
       .model_type = "stablelm",
       .partial_rope = true,
       .layer_norms = true,
       .fields = {{"use_parallel_residual", "use_parallel_residual", Kind::flag, false}}},
      {.name = "qwen35",
       .model_type = "qwen3_5_text",
       .partial_rope = true,
       .hybrid = GgufArchitecture::Hybrid::tiled,
       .fields = kHybridFields,
       .tensors = kHybrid,
       .constants = R"({"hidden_act": "silu", "norms_have_one": true})"},
      {.name = "qwen35moe",
       .model_type = "qwen3_5_moe_text",
       .partial_rope = true,
       .hybrid = GgufArchitecture::Hybrid::tiled,
       .fields = with_experts(kHybridFields),
       .tensors = kHybrid,
       .constants = R"({"hidden_act": "silu", "norms_have_one": true})"},
      {.name = "qwen3next",
       .model_type = "qwen3_next",
       .partial_rope = true,
       .hybrid = GgufArchitecture::Hybrid::grouped,
       .fields = with_experts(kHybridFields),
       .tensors = kHybrid,
       .constants = R"({"hidden_act": "silu", "norms_have_one": true})"},
      {.name = "lfm2",
       .model_type = "lfm2",
       .convolutions = true,
       .fields = {{"shortconv.l_cache", "conv_L_cache"}},
       .tensors = kConvolutions,
       .constants = R"({"hidden_act": "silu", "conv_bias": false,
                        "block_auto_adjust_ff_dim": false})"},
      {.name = "lfm2moe",
       .model_type = "lfm2_moe",
       .convolutions = true,
       .fields = {{"shortconv.l_cache", "conv_L_cache"},
                  kExperts,
                  kChosen,
                  kExpertWidth,
                  {"leading_dense_block_count", "num_dense_layers", Kind::count}},
       .fixed = {{"expert_gating_func", 2}},  // sigmoid
       .tensors = kConvolutions,
       .constants = R"({"hidden_act": "silu", "conv_bias": false, "use_expert_bias": true,
                        "norm_topk_prob": true, "routed_scaling_factor": 1.0})"},
      {.name = "deepseek2",
       .model_type = "deepseek_v2",
       .other_model_type = "deepseek_v3",
       .latent = true,
       .fields = {{"attention.kv_lora_rank", "kv_lora_rank"},
                  {"attention.q_lora_rank", "q_lora_rank", Kind::integer, false},
                  {"leading_dense_block_count", "first_k_dense_replace", Kind::count, false},
                  {"expert_count", "num_experts", Kind::integer, false},
                  {"expert_used_count", "num_experts_per_tok", Kind::integer, false},
                  {"expert_feed_forward_length", "moe_intermediate_size", Kind::integer, false},
                  {"expert_shared_count", "n_shared_experts", Kind::count, false},
                  {"expert_group_count", "n_group", Kind::integer, false},
                  {"expert_group_used_count", "topk_group", Kind::integer, false},
                  {"expert_weights_scale", "routed_scaling_factor", Kind::number, false},
                  kNormalized},
       .tensors = kLatent,
       .constants = R"({"hidden_act": "silu", "first_k_dense_replace": 0, "n_shared_experts": 0,
                        "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0,
                        "norm_topk_prob": false, "q_lora_rank": null})"},
      {.name = "falcon-h1",
       .model_type = "falcon_h1",
       .state_space = true,
       .fields = {{"ssm.conv_kernel", "mamba_d_conv"},
                  {"ssm.inner_size", "mamba_d_ssm"},
                  {"ssm.state_size", "mamba_d_state"},
                  {"ssm.time_step_rank", "mamba_n_heads"},
                  {"ssm.group_count", "mamba_n_groups"}},
       .tensors = kStateSpace,
       .constants = R"({"hidden_act": "silu", "mamba_d_head": "auto",
                        "mamba_norm_before_gate": false})"},
      {.name = "ernie4_5", .model_type = "ernie4_5"},
      {.name = "smollm3", .model_type = "smollm3", .interleaved_heads = true},
  };
  return table;
}

// Source: LLM_ARCH_NAMES of ggml-org/llama.cpp and of the forks that draft with models of their
// own.
std::string_view not_a_text_model(std::string_view architecture) {
  constexpr std::string_view kDrafts =
      "a draft model, which reads the hidden states of another model and is of no use alone";
  constexpr std::string_view kEncoder = "an encoder, which gives vectors and no text";
  constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
      {"dflash", kDrafts},
      {"dspark", kDrafts},
      {"eagle", kDrafts},
      {"gemma4-assistant", kDrafts},
      {"clip",
       "the part of a multimodal model that sees or hears (an \"mmproj\" file); its text "
       "model is another file"},
      {"bert", kEncoder},
      {"nomic-bert", kEncoder},
      {"jina-bert", kEncoder},
      {"modern-bert", kEncoder},
      {"eurobert", kEncoder},
      {"gemma-embedding", kEncoder},
      {"t5", "an encoder with a decoder"},
      {"wavtokenizer", "a model of sounds"}};
  for (const auto& [prefix, what] : kKinds)
    if (architecture.starts_with(prefix)) return what;
  return {};
}

std::string hugging_face_name(const GgufArchitecture& architecture, std::string_view name) {
  std::string_view module = name;
  std::string suffix;
  if (name.ends_with(".weight")) {
    module.remove_suffix(7);
  } else if (name.ends_with(".bias")) {
    module.remove_suffix(5);
    suffix = ".bias";
  } else if (!name.ends_with(".ssm_a") && !name.ends_with(".ssm_d") &&
             !name.ends_with(".ffn_norm")) {  // which Falcon-H1's files have so
    return std::string(name);
  }
  for (const GgufTensorName& tensor : kModelTensors)
    if (module == tensor.gguf) return std::string(tensor.name) + suffix;
  if (!module.starts_with("blk.")) return std::string(name);
  const size_t dot = module.find('.', 4);
  if (dot == std::string_view::npos) return std::string(name);
  const std::string_view inner = module.substr(dot + 1);
  const auto named = [&](std::string_view known) {
    return fmt::format("model.layers.{}.{}{}", module.substr(4, dot - 4), known, suffix);
  };
  for (const GgufTensorName& tensor : architecture.tensors)
    if (inner == tensor.gguf) return named(tensor.name);
  for (const GgufTensorName& tensor : kLayerTensors)
    if (inner == tensor.gguf) return named(tensor.name);
  return std::string(name);
}

std::string gguf_name(const GgufArchitecture& architecture, std::string_view name) {
  constexpr std::string_view kLayers = "model.layers.";
  std::string_view module = name;
  std::string_view suffix = ".weight";
  if (name.ends_with(".bias")) {
    suffix = ".bias";
    module.remove_suffix(suffix.size());
  }
  for (const GgufTensorName& tensor : kModelTensors)
    if (module == tensor.name) return fmt::format("{}{}", tensor.gguf, suffix);
  if (!module.starts_with(kLayers)) return std::string(name);
  module.remove_prefix(kLayers.size());
  const size_t dot = module.find('.');
  if (dot == std::string_view::npos) return std::string(name);
  const auto stored = [&](std::string_view known) {
    const bool is_plain = known == "ssm_a" || known == "ssm_d";
    return fmt::format("blk.{}.{}{}", module.substr(0, dot), known, is_plain ? "" : suffix);
  };
  const std::string_view inner = module.substr(dot + 1);
  for (const GgufTensorName& tensor : architecture.tensors)
    if (inner == tensor.name) return stored(tensor.gguf);
  for (const GgufTensorName& tensor : kLayerTensors)
    if (inner == tensor.name) return stored(tensor.gguf);
  return std::string(name);
}

}  // namespace sinter::frontends
