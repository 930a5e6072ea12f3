// ERNIE 4.5 with experts: RoPE turns adjacent pairs, a correction is added to scores for the
// choice, a shared MLP, the first layers dense. Source: transformers
// models/ernie4_5_moe/modeling_ernie4_5_moe.py and its configuration.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_ernie4_5_moe(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("use_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.attention.rope->interleaved = true;
    layer.mlp.bias = bias;
  }
  Experts e = read_experts(m);
  e.correction = "mlp.moe_statics.e_score_correction_bias";
  e.normalized = true;
  const auto last = static_cast<int64_t>(d.layers.size()) - 1;
  if (const int64_t shared = m.integer("moe_num_shared_experts", {0, 1024}); shared > 0)
    e.shared = Mlp{.width = shared * e.width,
                   .act = e.act,
                   .bias = bias,
                   .gate = "mlp.shared_experts.gate_proj",
                   .up = "mlp.shared_experts.up_proj",
                   .down = "mlp.shared_experts.down_proj"};
  const int64_t begin = m.integer("moe_layer_start_index", {0, 1024});
  const int64_t said = m.config().find("moe_layer_end_index") == nullptr
                           ? -1
                           : m.integer("moe_layer_end_index", {-1, 1024});
  const int64_t end = said < 0 ? last : said;
  const int64_t interval = m.integer("moe_layer_interval", {1, 1024});
  for (size_t i = 0; i < d.layers.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if ((at + 1) % interval == 0 && at >= begin && at <= end)
      d.layers[i].feed_forward = feed_forward(e, d.hidden);
  }
  return build(m, d);
}

Family family_ernie4_5_moe() {
  return {.model_type = "ernie4_5_moe",
          .import = import_ernie4_5_moe,
          .defaults = R"({
    "vocab_size": 103424, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 28,
    "num_attention_heads": 20, "num_key_value_heads": 4, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
    "num_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1536,
    "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_interval": 1,
    "tie_word_embeddings": true})",
          .fields = {{"moe_num_experts", "num_experts"}, {"moe_k", "num_experts_per_tok"}},
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
