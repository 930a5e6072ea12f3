// Checkpoints of Hugging Face written as GGUF files, as llama.cpp's conversion scripts write them,
// have the logits that they had. Names and keys are said here apart from frontends/gguf, after
// gguf-py/gguf/tensor_mapping.py and constants.py of ggml-org/llama.cpp.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "frontends/gguf/architectures.h"
#include "frontends/gguf/gguf.h"
#include "models/renames.h"
#include "tests/frontends/gguf/writer.h"
#include "tests/models/expect_logits.h"

#ifdef SINTER_MORE_GOLDENS

namespace sinter::models {
namespace {

using frontends::GgufEntry;
using frontends::GgufFile;
using frontends::GgufKey;
using nlohmann::json;

struct Tensor {
  std::string name;
  std::vector<uint64_t> extents;  // the fastest first
  std::vector<float> values;
};

struct Case {
  const char* golden;
  const char* architecture;
  std::vector<Rename> names;  // of tensors, before those of llama
  // Keys below the architecture's beside those that all have: a number, text or list, or the field
  // of config.json that has it, "$field".
  json keys;
  bool interleaved = false;     // rows of q and k are in pairs for RoPE
  bool norms_plus_one = false;  // norms are stored less 1, and written whole
  // What else the script makes of a tensor that has its name.
  std::vector<Tensor> (*rewrite)(const json& config, Tensor tensor) = nullptr;
  size_t positions = 0;  // that have the same logits; 0: all
};

const std::vector<Rename> kNames = {{"^model.embed_tokens", "token_embd"},
                                    {"^model.norm", "output_norm"},
                                    {"^lm_head", "output"},
                                    {"^model.layers", "blk"},
                                    {"input_layernorm", "attn_norm"},
                                    {"post_attention_layernorm", "ffn_norm"},
                                    {"self_attn.q_proj", "attn_q"},
                                    {"self_attn.k_proj", "attn_k"},
                                    {"self_attn.v_proj", "attn_v"},
                                    {"self_attn.o_proj", "attn_output"},
                                    {"self_attn.q_norm", "attn_q_norm"},
                                    {"self_attn.k_norm", "attn_k_norm"},
                                    {"mlp.gate_proj", "ffn_gate"},
                                    {"mlp.up_proj", "ffn_up"},
                                    {"mlp.down_proj", "ffn_down"},
                                    {"mlp.gate", "ffn_gate_inp"},
                                    {"mlp.experts.*.gate_proj", "ffn_gate_exps.*"},
                                    {"mlp.experts.*.up_proj", "ffn_up_exps.*"},
                                    {"mlp.experts.*.down_proj", "ffn_down_exps.*"}};

const std::vector<Rename> kConvolutions = {{"^model.embedding_norm", "token_embd_norm"},
                                           {"operator_norm", "attn_norm"},
                                           {"self_attn.out_proj", "attn_output"},
                                           {"self_attn.q_layernorm", "attn_q_norm"},
                                           {"self_attn.k_layernorm", "attn_k_norm"},
                                           {"conv.in_proj", "shortconv.in_proj"},
                                           {"conv.out_proj", "shortconv.out_proj"},
                                           {"conv.conv", "shortconv.conv"},
                                           {"feed_forward.experts.*.w1", "ffn_gate_exps.*"},
                                           {"feed_forward.experts.*.w3", "ffn_up_exps.*"},
                                           {"feed_forward.experts.*.w2", "ffn_down_exps.*"},
                                           {"feed_forward.expert_bias", "exp_probs_b.bias"},
                                           {"feed_forward.gate", "ffn_gate_inp"},
                                           {"feed_forward.w1", "ffn_gate"},
                                           {"feed_forward.w3", "ffn_up"},
                                           {"feed_forward.w2", "ffn_down"}};

const std::vector<Rename> kLatent = {{"self_attn.q_a_proj", "attn_q_a"},
                                     {"self_attn.q_a_layernorm", "attn_q_a_norm"},
                                     {"self_attn.q_b_proj", "attn_q_b"},
                                     {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
                                     {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
                                     {"self_attn.kv_b_proj", "attn_kv_b"},
                                     {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
                                     {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
                                     {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
                                     {"mlp.shared_experts.down_proj", "ffn_down_shexp"}};

const std::vector<Rename> kStateSpace = {{"^model.final_layernorm", "output_norm"},
                                         {"pre_ff_layernorm.weight", "ffn_norm"},
                                         {"mamba.in_proj", "ssm_in"},
                                         {"mamba.conv1d", "ssm_conv1d"},
                                         {"mamba.A_log", "ssm_a"},
                                         {"mamba.D", "ssm_d"},
                                         {"mamba.dt_bias", "ssm_dt.bias"},
                                         {"mamba.out_proj", "ssm_out"},
                                         {"feed_forward.gate_proj", "ffn_gate"},
                                         {"feed_forward.up_proj", "ffn_up"},
                                         {"feed_forward.down_proj", "ffn_down"}};

// The matrix of keys and values, row by row of each head, becomes one of values and one of keys,
// that of a head transposed.
std::vector<Tensor> split_latent(const json& config, Tensor tensor) {
  const size_t at = tensor.name.find("attn_kv_b");
  if (at == std::string::npos) return {std::move(tensor)};
  const auto heads = config.at("num_attention_heads").get<uint64_t>();
  const auto key = config.at("qk_nope_head_dim").get<uint64_t>();
  const auto value = config.at("v_head_dim").get<uint64_t>();
  const uint64_t rank = tensor.extents[0];
  const auto named = [&](const char* name) {
    return std::string(tensor.name).replace(at, 9, name);
  };
  Tensor keys{named("attn_k_b"), {key, rank, heads}, {}};
  Tensor values{named("attn_v_b"), {rank, value, heads}, {}};
  for (uint64_t h = 0; h < heads; ++h) {
    const float* head = tensor.values.data() + h * (key + value) * rank;
    for (uint64_t i = 0; i < rank; ++i)
      for (uint64_t j = 0; j < key; ++j) keys.values.push_back(head[j * rank + i]);
    values.values.insert(values.values.end(), head + key * rank, head + (key + value) * rank);
  }
  return {std::move(keys), std::move(values)};
}

// Matrices of layers become -s, 0 or s, as the model's own code makes them.
std::vector<Tensor> make_ternary(const json& /*config*/, Tensor tensor) {
  if (!tensor.name.starts_with("blk.") || tensor.extents.size() < 2) return {std::move(tensor)};
  double sum = 0;
  for (const float value : tensor.values) sum += std::abs(value);
  const auto scale =
      static_cast<float>(std::max(sum / static_cast<double>(tensor.values.size()), 1e-5));
  for (float& value : tensor.values)
    value = std::clamp(std::nearbyint(value / scale), -1.0F, 1.0F) * scale;
  return {std::move(tensor)};
}

// Scores have a head's length for their scale, and not query_pre_attn_scalar.
std::vector<Tensor> scale_queries(const json& config, Tensor tensor) {
  if (tensor.name.find("attn_q.") != std::string::npos)
    for (float& value : tensor.values)
      value *= std::sqrt(config.at("head_dim").get<float>() /
                         config.at("query_pre_attn_scalar").get<float>());
  return {std::move(tensor)};
}

// All factors are in the matrices. A tied matrix is written twice, since the two have others.
std::vector<Tensor> multiply(const json& config, Tensor tensor) {
  const auto is = [&](const char* name) { return tensor.name.find(name) != std::string::npos; };
  const auto factor = [&](const char* field) { return config.at(field).get<float>(); };
  std::vector<Tensor> out;
  float scale = 1;
  if (is("token_embd")) {
    Tensor head{"output.weight", tensor.extents, tensor.values};
    for (float& value : head.values) value *= factor("lm_head_multiplier");
    out.push_back(std::move(head));
    scale = factor("embedding_multiplier");
  }
  if (is("ffn_down")) scale = config.at("mlp_multipliers").at(1);
  if (is("ffn_gate")) scale = config.at("mlp_multipliers").at(0);
  if (is("attn_q.") || is("attn_k.") || is("attn_v.")) scale = factor("attention_in_multiplier");
  if (is("attn_k.")) scale *= factor("key_multiplier");
  if (is("attn_output")) scale = factor("attention_out_multiplier");
  if (is("ssm_out")) scale = factor("ssm_out_multiplier");
  for (float& value : tensor.values) value *= scale;
  if (is("ssm_in")) {
    const auto width = config.at("mamba_d_ssm").get<uint64_t>();
    const auto shared =
        config.at("mamba_n_groups").get<uint64_t>() * config.at("mamba_d_state").get<uint64_t>();
    const std::vector<uint64_t> ends = {width, 2 * width, 2 * width + shared,
                                        2 * width + 2 * shared, tensor.extents[1]};
    size_t part = 0;
    for (uint64_t row = 0; row < tensor.extents[1]; ++row) {
      if (row == ends[part]) ++part;
      const float of_part =
          factor("ssm_in_multiplier") * config.at("ssm_multipliers").at(part).get<float>();
      for (uint64_t i = 0; i < tensor.extents[0]; ++i)
        tensor.values[row * tensor.extents[0] + i] *= of_part;
    }
  }
  if (is("ssm_a"))
    for (float& value : tensor.values) value = -std::exp(value);
  if (is("ssm_a") || tensor.name.ends_with("ssm_d"))
    tensor.extents.insert(tensor.extents.begin(), 1);
  out.push_back(std::move(tensor));
  return out;
}

const json kRmsNorms = {{"attention.layer_norm_rms_epsilon", "$rms_norm_eps"}};
json with(json keys, const json& more) {
  keys.update(more);
  return keys;
}

const json kLatentExperts = {{"attention.layer_norm_rms_epsilon", "$rms_norm_eps"},
                             {"attention.q_lora_rank", "$q_lora_rank"},
                             {"attention.kv_lora_rank", "$kv_lora_rank"},
                             {"attention.key_length", 48},
                             {"attention.value_length", 32},
                             {"attention.head_count_kv", 1},
                             {"rope.dimension_count", "$qk_rope_head_dim"},
                             {"leading_dense_block_count", "$first_k_dense_replace"},
                             {"expert_count", "$n_routed_experts"},
                             {"expert_used_count", "$num_experts_per_tok"},
                             {"expert_feed_forward_length", "$moe_intermediate_size"},
                             {"expert_shared_count", "$n_shared_experts"},
                             {"expert_weights_scale", "$routed_scaling_factor"}};

std::vector<Case> cases() {
  return {
      // As old files are: one matrix of keys and values, lengths of heads, softmax without a key.
      {"hf_deepseek_v2", "deepseek2", kLatent,
       with(kLatentExperts, {{"attention.key_length", 32},
                             {"attention.value_length", "$v_head_dim"},
                             {"attention.head_count_kv", "$num_attention_heads"}})},
      {"hf_deepseek_v3", "deepseek2", kLatent,
       with(kLatentExperts, {{"attention.key_length_mla", 32},
                             {"attention.value_length_mla", "$v_head_dim"},
                             {"expert_gating_func", 2},
                             {"expert_group_count", "$n_group"},
                             {"expert_group_used_count", "$topk_group"},
                             {"expert_weights_norm", true},
                             {"rope.scaling.type", "yarn"},
                             {"rope.scaling.factor", 8.0},
                             {"rope.scaling.original_context_length", 32},
                             {"rope.scaling.yarn_beta_fast", 32.0},
                             {"rope.scaling.yarn_beta_slow", 1.0},
                             {"rope.scaling.yarn_log_multiplier", 0.1}}),
       false, false, split_latent},
      // Its older files do not say that routers are sigmoids.
      {"hf_glm4_moe_lite", "deepseek2", kLatent,
       with(kLatentExperts, {{"attention.key_length_mla", 40},
                             {"attention.value_length_mla", "$v_head_dim"},
                             {"expert_weights_norm", true}}),
       false, false, split_latent},
      {"hf_falcon_h1", "falcon-h1", kStateSpace,
       with(kRmsNorms, {{"attention.key_length", "$head_dim"},
                        {"attention.value_length", "$head_dim"},
                        {"ssm.conv_kernel", "$mamba_d_conv"},
                        {"ssm.inner_size", "$mamba_d_ssm"},
                        {"ssm.state_size", "$mamba_d_state"},
                        {"ssm.time_step_rank", "$mamba_n_heads"},
                        {"ssm.group_count", "$mamba_n_groups"}}),
       false, false, multiply},
      {"hf_qwen2_moe",
       "qwen2moe",
       {{"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
        {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
        {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
        {"mlp.shared_expert.down_proj", "ffn_down_shexp"}},
       with(kRmsNorms,
            {{"expert_count", "$num_experts"},
             {"expert_used_count", "$num_experts_per_tok"},
             {"expert_feed_forward_length", "$moe_intermediate_size"},
             {"expert_shared_feed_forward_length", "$shared_expert_intermediate_size"}})},
      {"hf_gemma",
       "gemma",
       {},
       with(kRmsNorms,
            {{"attention.key_length", "$head_dim"}, {"attention.value_length", "$head_dim"}}),
       false,
       true},
      // Files have no key for the scale of scores.
      {"hf_gemma2",
       "gemma2",
       {{"post_attention_layernorm", "post_attention_norm"},
        {"pre_feedforward_layernorm", "ffn_norm"},
        {"post_feedforward_layernorm", "post_ffw_norm"}},
       with(kRmsNorms, {{"attention.key_length", "$head_dim"},
                        {"attention.value_length", "$head_dim"},
                        {"attention.sliding_window", "$sliding_window"},
                        {"attn_logit_softcapping", "$attn_logit_softcapping"},
                        {"final_logit_softcapping", "$final_logit_softcapping"}}),
       false,
       true,
       scale_queries},
      // Its windows are not in files, and llama.cpp has none: the first rows see all in both.
      {"hf_starcoder2",
       "starcoder2",
       {{"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}},
       {{"attention.layer_norm_epsilon", "$norm_epsilon"}, {"rope.dimension_count", 32}},
       false,
       false,
       nullptr,
       16},
      {"hf_olmo2",
       "olmo2",
       {{"post_attention_layernorm", "post_attention_norm"},
        {"post_feedforward_layernorm", "post_ffw_norm"}},
       kRmsNorms},
      {"hf_cohere2",
       "cohere2",
       {},
       {{"attention.layer_norm_epsilon", "$layer_norm_eps"},
        {"attention.sliding_window", "$sliding_window"},
        {"rope.dimension_count", "$head_dim"},
        {"rope.scaling.type", "none"},
        {"logit_scale", "$logit_scale"}}},
      {"hf_glm4",
       "glm4",
       {{"post_attention_layernorm", "ffn_norm"},
        {"post_self_attn_layernorm", "post_attention_norm"},
        {"post_mlp_layernorm", "post_ffw_norm"},
        {"mlp.gate_up_proj", "ffn_up"}},
       with(kRmsNorms, {{"rope.dimension_count", 16}})},
      {"hf_granite",
       "granite",
       {},
       with(kRmsNorms, {{"attention.scale", "$attention_multiplier"},
                        {"embedding_scale", "$embedding_multiplier"},
                        {"residual_scale", "$residual_multiplier"},
                        {"logit_scale", "$logits_scaling"}}),
       true},
      {"hf_stablelm",
       "stablelm",
       {},
       {{"attention.layer_norm_epsilon", "$layer_norm_eps"},
        {"rope.dimension_count", 4},
        {"use_parallel_residual", false}}},
      {"hf_ernie4_5", "ernie4_5", {}, kRmsNorms},
      {"hf_bitnet_dense",
       "bitnet-b1.58",
       {{"self_attn.attn_sub_norm", "attn_sub_norm"}, {"mlp.ffn_sub_norm", "ffn_sub_norm"}},
       kRmsNorms},
      {"bitnet_1bitllm",
       "bitnet",
       {{"self_attn.inner_attn_ln", "attn_sub_norm"}, {"mlp.ffn_layernorm", "ffn_sub_norm"}},
       kRmsNorms,
       false,
       false,
       make_ternary},
      {"hf_smollm3", "smollm3", {}, with(kRmsNorms, {{"rope.dimension_count", 32}}), true},
      {"hf_lfm2",
       "lfm2",
       kConvolutions,
       {{"attention.layer_norm_rms_epsilon", "$norm_eps"},
        {"shortconv.l_cache", "$conv_L_cache"},
        {"attention.head_count_kv", {0, 0, 2, 0}},
        {"feed_forward_length", 128}}},
      {"hf_lfm2_moe",
       "lfm2moe",
       kConvolutions,
       {{"attention.layer_norm_rms_epsilon", "$norm_eps"},
        {"shortconv.l_cache", "$conv_L_cache"},
        {"attention.head_count_kv", {0, 0, 2, 0}},
        {"expert_count", "$num_experts"},
        {"expert_used_count", "$num_experts_per_tok"},
        {"expert_feed_forward_length", "$moe_intermediate_size"},
        {"leading_dense_block_count", "$num_dense_layers"},
        {"expert_gating_func", 2}}},
  };
}

GgufKey key(const std::string& name, const json& value) {
  if (value.is_boolean()) return frontends::key_bool(name, value.get<bool>());
  if (value.is_number_float()) return frontends::key_f32(name, value.get<float>());
  if (value.is_string()) return frontends::key_text(name, value.get<std::string>());
  if (value.is_array())
    return frontends::key_numbers(name, frontends::kGgufInt32, value.get<std::vector<int32_t>>());
  return frontends::key_u32(name, value.get<uint32_t>());
}

std::vector<GgufKey> keys_of(const Case& c, const json& config) {
  const json common = {{"block_count", "$num_hidden_layers"},
                       {"context_length", "$max_position_embeddings"},
                       {"embedding_length", "$hidden_size"},
                       {"feed_forward_length", "$intermediate_size"},
                       {"attention.head_count", "$num_attention_heads"},
                       {"attention.head_count_kv", "$num_key_value_heads"},
                       {"rope.freq_base", "$rope_theta"},
                       {"vocab_size", "$vocab_size"}};
  std::vector<GgufKey> keys = {frontends::key_text("general.architecture", c.architecture)};
  const json all = with(common, c.keys);
  for (const auto& [name, said] : all.items()) {
    const bool is_field = said.is_string() && said.get<std::string>().starts_with("$");
    keys.push_back(key(std::string(c.architecture) + "." + name,
                       is_field ? config.at(said.get<std::string>().substr(1)) : said));
  }
  return keys;
}

std::vector<float> decoded(const frontends::StoredTensor& tensor) {
  const ir::DType dtype = tensor.dtype == "F32"    ? ir::DType::f32
                          : tensor.dtype == "BF16" ? ir::DType::bf16
                                                   : ir::DType::f16;
  std::vector<float> out(tensor.bytes.size() / static_cast<size_t>(ir::byte_size(dtype)));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = ir::read_element(dtype, tensor.bytes.data(), static_cast<int64_t>(i));
  return out;
}

// Row (head, half, i) becomes (head, i, half).
std::vector<float> in_pairs(const std::vector<float>& rows, size_t count, size_t head_dim) {
  const size_t width = rows.size() / count;
  std::vector<float> out(rows.size());
  for (size_t row = 0; row < count; ++row) {
    const size_t in_head = row % head_dim;
    const size_t to = row - in_head + in_head % (head_dim / 2) * 2 + in_head / (head_dim / 2);
    std::copy_n(rows.begin() + static_cast<ptrdiff_t>(row * width), width,
                out.begin() + static_cast<ptrdiff_t>(to * width));
  }
  return out;
}

GgufFile rewritten(const Case& c, const json& config, const frontends::StoredTensors& tensors) {
  GgufFile file;
  file.keys = keys_of(c, config);
  std::map<std::string, GgufEntry> experts;  // stacked, one after another
  const auto heads = config.at("num_attention_heads").get<size_t>();
  const size_t head_dim = config.value("head_dim", config.at("hidden_size").get<size_t>() / heads);
  for (const auto& [stored, tensor] : tensors) {
    std::vector<float> values = decoded(tensor);
    if (c.norms_plus_one && stored.ends_with("norm.weight"))
      for (float& value : values) value += 1;
    const std::string name = rename(rename(stored, c.names), kNames);
    std::vector<uint64_t> extents;  // the fastest first, without those of 1 within
    for (const int64_t extent : tensor.shape)
      if (extent != 1 || tensor.shape.size() < 3)
        extents.insert(extents.begin(), static_cast<uint64_t>(extent));
    if (c.interleaved &&
        (name.find(".attn_q.") != std::string::npos || name.find(".attn_k.") != std::string::npos))
      values = in_pairs(values, static_cast<size_t>(tensor.shape[0]), head_dim);
    const size_t stack = name.find("_exps.");
    if (stack == std::string::npos) {
      Tensor one{name, extents, values};
      for (Tensor& written : c.rewrite == nullptr ? std::vector<Tensor>{std::move(one)}
                                                  : c.rewrite(config, std::move(one)))
        file.tensors.push_back(frontends::f32_entry(written.name, written.extents, written.values));
      continue;
    }
    GgufEntry& all = experts[name.substr(0, stack) + "_exps.weight"];
    if (all.extents.empty()) all.extents = {extents[0], extents[1], 0};
    ++all.extents[2];
    all.bytes += frontends::bytes_of(values);
  }
  for (auto& [name, entry] : experts) {
    entry.name = name;
    file.tensors.push_back(std::move(entry));
  }
  return file;
}

TEST(MoreGoldens, RewrittenAsGgufTheyHaveTheSameLogits) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.golden);
    const std::filesystem::path folder = std::filesystem::path(SINTER_MORE_GOLDENS) / c.golden;
    const auto config = frontends::read_json_object(folder / "config.json");
    ASSERT_TRUE(config.ok()) << config.status();
    const auto stored = frontends::open_safetensors(folder / "model.safetensors");
    ASSERT_TRUE(stored.ok()) << stored.status();
    const frontends::TempDir temporary;
    const auto file = temporary.write("model.gguf", rewritten(c, *config, stored->tensors).bytes());
    expect_logits(file, folder, c.positions);
  }
}

// No architecture is without logits that are known: a case of these, or a file beside the
// repository.
TEST(MoreGoldens, EveryArchitectureOfGgufFilesIsAmongThem) {
  std::set<std::string, std::less<>> known;
  for (const Case& c : cases()) known.insert(c.architecture);
  for (const auto& entry : std::filesystem::directory_iterator(SINTER_MORE_GOLDENS)) {
    const auto file = entry.path() / "model.gguf";
    if (!std::filesystem::exists(file)) continue;
    const auto gguf = frontends::open_gguf_metadata(file);
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    known.insert(gguf->metadata.at("general.architecture").get<std::string>());
  }
  for (const frontends::GgufArchitecture& architecture : frontends::gguf_architectures())
    EXPECT_TRUE(known.contains(architecture.name)) << architecture.name;
}

}  // namespace
}  // namespace sinter::models

#endif
