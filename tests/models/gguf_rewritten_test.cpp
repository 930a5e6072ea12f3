// Checkpoints of Hugging Face written as GGUF files, as llama.cpp's conversion scripts write them,
// have the logits that they had. Names and keys are said here apart from frontends/gguf, after
// gguf-py/gguf/tensor_mapping.py and constants.py of ggml-org/llama.cpp.
#include <map>
#include <string>
#include <vector>

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

struct Case {
  const char* golden;
  const char* architecture;
  std::vector<Rename> names;  // of tensors, before those of llama
  // Keys below the architecture's beside those that all have: a number, text or list, or the field
  // of config.json that has it, "$field".
  json keys;
  bool interleaved = false;     // rows of q and k are in pairs for RoPE
  bool norms_plus_one = false;  // norms are stored less 1, and written whole
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

const json kRmsNorms = {{"attention.layer_norm_rms_epsilon", "$rms_norm_eps"}};
json with(json keys, const json& more) {
  keys.update(more);
  return keys;
}

std::vector<Case> cases() {
  return {
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
      file.tensors.push_back(frontends::f32_entry(name, extents, values));
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
    expect_logits(file, folder);
  }
}

}  // namespace
}  // namespace sinter::models

#endif
