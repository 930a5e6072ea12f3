// Kimi Linear: delta attention on most layers, latent attention without RoPE on the others, and
// DeepSeek-V3's experts. Source: transformers models/kimi_linear.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/kimi_delta_attention.h"
#include "models/blocks/latent_attention.h"
#include "models/blocks/sparse_layers.h"
#include "models/family.h"

namespace sinter::models {

namespace {

// linear_attn_config: the sizes of delta attention, and the numbers of the layers of each kind,
// which begin with 1.
class LinearConfig {
 public:
  LinearConfig(Importer& m, const Config& config) : m_(m), config_(config) {}

  int64_t integer(const char* field, frontends::IntRange range) {
    const auto value = config_.integer(field, range);
    if (value.ok()) return *value;
    m_.fail(value.status());
    return range.min;
  }
  std::vector<int64_t> layers(const char* field, int64_t count) {
    const nlohmann::json* list = config_.find(field);
    const int64_t size =
        list != nullptr && list->is_array() ? static_cast<int64_t>(list->size()) : 1;
    auto numbers = config_.integers(field, size, {1, count});
    if (numbers.ok()) return *std::move(numbers);
    m_.fail(numbers.status());
    return {};
  }
  void refuse(const char* field, const std::string& why) { m_.fail(config_.refuse(field, why)); }

 private:
  Importer& m_;
  const Config& config_;
};

void read_mixers(Importer& m, Decoder& d) {
  LatentAttention latent = read_latent_attention(m);
  const auto section = m.config().section("linear_attn_config");
  if (!section.ok()) return m.fail(section.status());
  LinearConfig config(m, *section);
  const KimiDeltaAttention delta{.heads = config.integer("num_heads", {1, 1 << 16}),
                                 .head_dim = config.integer("head_dim", {1, 1 << 16}),
                                 .taps = config.integer("short_conv_kernel_size", {2, 64}),
                                 .eps = d.norm.eps};
  const auto count = static_cast<int64_t>(d.layers.size());
  const std::vector<int64_t> full = config.layers("full_attn_layers", count);
  const std::vector<int64_t> linear = config.layers("kda_layers", count);
  if (!m.ok()) return;
  for (int64_t i = 0; i < count; ++i) {
    const bool is_full = std::ranges::find(full, i + 1) != full.end();
    if (is_full == (std::ranges::find(linear, i + 1) != linear.end()))
      return config.refuse(
          "full_attn_layers",
          fmt::format("and {} must have every layer once; layer {} is in {}",
                      section->name("kda_layers"), i + 1, is_full ? "both" : "neither"));
    Block& mixer = d.layers[static_cast<size_t>(i)].mixer;
    if (is_full) {
      mixer = [latent, hidden = d.hidden](Importer& m, ir::ValueId x, const std::string& name) {
        return latent_attention(m, latent, x, name, hidden);
      };
    } else {
      mixer = [delta, hidden = d.hidden](Importer& m, ir::ValueId x, const std::string& name) {
        return kimi_delta_attention(m, delta, x, name, hidden);
      };
    }
  }
}

absl::StatusOr<ir::Module> import_kimi_linear(Importer& m) {
  m.expect("mla_use_nope", true);
  m.expect("mla_use_output_gate", false);
  m.expect("use_grouped_topk", true);
  m.expect("attn_res_block_size", 0);
  Decoder d = read_decoder(m);
  if (!m.ok()) return m.finish(-1);
  read_mixers(m, d);
  read_late_experts(m, d, read_deepseek_experts(m));
  return build(m, d);
}

}  // namespace

Family family_kimi_linear() {
  return {.model_type = "kimi_linear",
          .import = import_kimi_linear,
          .defaults = R"({
    "vocab_size": 163840, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 27,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 1048576,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "q_lora_rank": null, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 256,
    "num_experts_per_tok": 8, "n_shared_experts": 1, "moe_intermediate_size": 1024, "n_group": 1,
    "topk_group": 1, "routed_scaling_factor": 2.446, "norm_topk_prob": true,
    "first_k_dense_replace": 1, "tie_word_embeddings": false})",
          .fields = {{"n_routed_experts", "num_experts"},
                     {"num_local_experts", "num_experts"},
                     {"num_experts_per_token", "num_experts_per_tok"},
                     {"num_shared_experts", "n_shared_experts"},
                     {"num_expert_group", "n_group"},
                     {"moe_renormalize", "norm_topk_prob"},
                     {"moe_router_activation_func", "scoring_func"},
                     {"model_max_length", "max_position_embeddings"}},
          .tensors = {{"block_sparse_moe", "mlp"},
                      {"mlp.switch_mlp", "mlp.experts"},
                      {"mlp.experts.*.w1", "mlp.experts.*.gate_proj"},
                      {"mlp.experts.*.w2", "mlp.experts.*.down_proj"},
                      {"mlp.experts.*.w3", "mlp.experts.*.up_proj"},
                      {"q_conv.conv", "q_conv1d"},
                      {"k_conv.conv", "k_conv1d"},
                      {"v_conv.conv", "v_conv1d"}}};
}

}  // namespace sinter::models
