#include "models/neutral_fields.h"

#include <span>
#include <string>

namespace sinter::models {

namespace {

using nlohmann::json;

struct NeutralField {
  std::string_view field;
  // As JSON: the value that changes nothing; empty when none does.
  std::string_view value = {};
};

constexpr NeutralField kConfig[] = {
    // What the file is and who wrote it.
    {"_name_or_path"},
    {"architectures"},
    {"auto_map"},
    {"base_model_type"},
    {"dtype"},
    {"finetuning_task"},
    {"language"},
    {"license"},
    {"model_name"},
    {"name"},
    {"torch_dtype"},
    {"transformers_version"},
    {"unsloth_fixed"},
    {"unsloth_version"},
    {"use_mambapy"},
    // Read by the frontends, which know what every matrix is stored as.
    {"compression_config"},
    {"input_bits"},
    {"quantization"},
    {"quantization_config"},
    {"synthetic_rotation"},
    {"synthetic_structure"},
    {"weight_bits"},
    // Layers behind the last, which are left out.
    {"num_nextn_predict_layers"},
    // Training.
    {"attention_dropout"},
    {"attention_probs_dropout_prob"},
    {"attn_pdrop"},
    {"aux_loss_alpha"},
    {"classifier_dropout"},
    {"embd_pdrop"},
    {"gradient_checkpointing"},
    {"hidden_dropout"},
    {"hidden_dropout_prob"},
    {"initializer_range"},
    {"rescale_prenorm_residual"},
    {"router_jitter_noise"},
    {"time_step_floor"},
    {"time_step_init_scheme"},
    {"time_step_max"},
    {"time_step_min"},
    {"time_step_scale"},
    {"z_loss_coefficient"},
    {"label_smoothing"},
    {"output_router_logits"},
    {"resid_pdrop"},
    {"router_aux_loss_coef"},
    {"seq_aux"},
    {"summary_activation"},
    // How other programs run the model.
    {"_attn_implementation"},
    {"_attn_implementation_autoset"},
    {"_flash_attn_2_enabled"},
    {"attn_implementation"},
    {"block_size"},
    {"chunk_size"},
    {"chunk_size_feed_forward"},
    {"ep_size"},
    {"fused_add_norm"},
    {"fused_qkv"},
    {"keys_to_ignore_at_inference"},
    {"low_cpu_mem_usage"},
    {"mamba_chunk_size"},
    {"mamba_ssm_cache_dtype"},
    {"max_shard_size"},
    {"moe_shared_expert_overlap"},
    {"num_logits_to_keep"},
    {"pretraining_tp"},
    {"residual_in_fp32"},
    {"seq_length"},
    {"tensor_parallel_size"},
    {"tokenizer_class"},
    {"use_bfloat16"},
    {"use_cache"},
    {"use_flash_attn"},
    {"use_mamba_kernels"},
    {"use_sdpa"},
    // Of classifiers, encoders and other kinds of models.
    {"cross_attention_hidden_size"},
    {"decoder_start_token_id"},
    {"id2label"},
    {"is_decoder"},
    {"is_encoder_decoder", "false"},
    {"add_cross_attention", "false"},
    {"label2id"},
    {"num_labels"},
    {"output_attentions"},
    {"output_hidden_states"},
    {"problem_type"},
    {"prefix"},
    {"pruned_heads"},
    {"return_dict"},
    {"return_dict_in_generate"},
    {"sep_token_id"},
    {"task_specific_params"},
    {"tf_legacy_loss"},
    {"tie_encoder_decoder"},
    {"tie_weights_keys"},
    {"torchscript"},
    {"type_vocab_size"},
    // Tokens that are read elsewhere or never end or begin a text.
    {"bos_token_id"},
    {"eom_token_id"},
    {"eos_token_id"},
    {"eot_token_id"},
    {"audio_token_id"},
    {"boa_token_id"},
    {"boi_token_id"},
    {"eoa_token_id"},
    {"eoa_token_index"},
    {"eoi_token_id"},
    {"image_token_id"},
    {"pad_token_id"},
    {"unk_token_id"},
    {"vision_end_token_id"},
    {"video_token_id"},
    {"vision_start_token_id"},
    // Of other modalities.
    {"audio_config"},
    {"audio_soft_tokens_per_image"},
    {"vision_config"},
    {"vision_soft_tokens_per_image"},
    // Values that change nothing.
    {"attention_multiplier", "1.0"},
    {"attn_logit_softcapping", "0.0"},
    {"clip_qkv", "0.0"},
    {"embedding_multiplier", "1.0"},
    {"final_logit_softcapping", "0.0"},
    {"logit_scale", "1.0"},
    {"logits_scaling", "1.0"},
    {"mamba_proj_bias", "false"},
    {"mlp_bias", "false"},
    {"num_experts", "0"},
    {"num_local_experts", "0"},
    {"qkv_bias", "false"},
    {"residual_multiplier", "1.0"},
    {"rms_norm", "true"},
    {"use_qk_norm", "false"},
    {"use_mrope", "false"},
};

constexpr NeutralField kGeneration[] = {
    {"_from_model_config"},
    {"assistant_confidence_threshold"},
    {"assistant_early_exit"},
    {"assistant_lookbehind"},
    {"bos_token_id"},
    {"cache_config"},
    {"cache_implementation"},
    {"chat_format"},
    {"decoder_start_token_id"},
    {"disable_compile"},
    {"early_stopping"},
    {"eom_token_id"},
    {"eos_token_id"},
    {"eot_token_id"},
    {"is_assistant"},
    {"length_penalty"},  // of beams
    {"low_memory"},
    {"max_length"},
    {"max_matching_ngram_size"},
    {"max_new_tokens"},
    {"max_time"},
    {"max_window_size"},
    {"num_assistant_tokens"},
    {"num_assistant_tokens_schedule"},
    {"output_attentions"},
    {"output_hidden_states"},
    {"output_logits"},
    {"output_scores"},
    {"pad_token_id"},
    {"prefill_chunk_size"},
    {"prompt_lookup_num_tokens"},
    {"return_dict_in_generate"},
    {"return_legacy_cache"},
    {"target_lookbehind"},
    {"token_healing", "false"},
    {"transformers_version"},
    {"trust_remote_code"},
    {"use_cache"},
    {"use_model_defaults"},
    // Values that change nothing.
    {"begin_suppress_tokens", "[]"},
    {"diversity_penalty", "0.0"},
    {"encoder_no_repeat_ngram_size", "0"},
    {"encoder_repetition_penalty", "1.0"},
    {"epsilon_cutoff", "0.0"},
    {"eta_cutoff", "0.0"},
    {"frequency_penalty", "0.0"},
    {"guidance_scale", "1.0"},
    {"min_length", "0"},
    {"min_new_tokens", "0"},
    {"min_p", "0.0"},
    {"no_repeat_ngram_size", "0"},
    {"num_beam_groups", "1"},
    {"num_beams", "1"},
    {"num_return_sequences", "1"},
    {"penalty_alpha", "0.0"},
    {"presence_penalty", "0.0"},
    {"remove_invalid_values", "false"},
    {"renormalize_logits", "false"},
    {"repetition_penalty", "1.0"},
    {"suppress_tokens", "[]"},
    {"top_h", "1.0"},
    {"typical_p", "1.0"},
};

bool is_in(std::span<const NeutralField> table, std::string_view field, const json& value) {
  for (const NeutralField& row : table) {
    if (row.field != field) continue;
    return row.value.empty() || json::parse(row.value) == value;
  }
  return false;
}

}  // namespace

bool is_neutral_config(std::string_view field, const json& value) {
  return is_in(kConfig, field, value);
}

bool is_neutral_generation(std::string_view field, const json& value) {
  return is_in(kGeneration, field, value);
}

}  // namespace sinter::models
