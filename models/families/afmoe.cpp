// Arcee's AFMoE (Trinity): attention with norms of heads and a gate, RoPE on windowed layers alone,
// norms before and after blocks, experts chosen by sigmoids with a correction, a shared MLP, the
// first layers dense. Source: transformers models/afmoe/modeling_afmoe.py and
// configuration_afmoe.py.
#include <cmath>
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_afmoe(Importer& m) {
  Decoder d = read_decoder(m);
  if (m.flag("mup_enabled", false)) d.embedding_scale = std::sqrt(static_cast<double>(d.hidden));
  d.norms = {.before_mixer = "input_layernorm",
             .after_mixer = "post_attention_layernorm",
             .before_feed_forward = "pre_mlp_layernorm",
             .after_feed_forward = "post_mlp_layernorm"};
  Experts e = read_experts(m);
  m.expect("score_func", "sigmoid");
  m.expect("n_group", 1);
  m.expect("topk_group", 1);
  e.scores = Experts::Scores::sigmoid;
  e.correction = "mlp.expert_bias";
  e.normalized = m.flag("route_norm", true);
  e.sum_eps = 1e-20;
  e.scale = m.number("route_scale", {1e-6, 1e6}, 1.0);
  e.router = "mlp.router.gate";
  if (const int64_t shared = m.integer("num_shared_experts", {0, 1024}, 0); shared > 0)
    e.shared = Mlp{.width = shared * e.width,
                   .act = e.act,
                   .gate = "mlp.shared_experts.gate_proj",
                   .up = "mlp.shared_experts.up_proj",
                   .down = "mlp.shared_experts.down_proj"};
  const int64_t dense = m.integer("num_dense_layers", {0, 1024});
  const int64_t interval = m.integer("global_attn_every_n_layers", kSize, 4);
  const auto count = static_cast<int64_t>(d.layers.size());
  std::vector<std::string> types;
  if (m.config().find("layer_types") != nullptr) types = m.texts("layer_types", count);
  read_windows(m, d, true);
  if (!m.ok()) return m.finish(-1);
  d.for_each_attention([&](Attention& a, int64_t i) {
    a.qk_norms = Attention::HeadNorms::head;
    a.gate = Attention::Gate::apart;
    const bool full =
        types.empty() ? (i + 1) % interval == 0 : types[static_cast<size_t>(i)] == "full_attention";
    if (full) {
      a.window = 0;
      a.rope.reset();
    }
    if (i >= dense) d.layers[static_cast<size_t>(i)].feed_forward = feed_forward(e, d.hidden);
  });
  return build(m, d);
}

Family family_afmoe() {
  return {.model_type = "afmoe",
          .import = import_afmoe,
          .defaults = R"({
    "vocab_size": 200192, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 32,
    "num_attention_heads": 16, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "num_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1408,
    "num_shared_experts": 2, "num_dense_layers": 1, "sliding_window": 1024,
    "tie_word_embeddings": false})",
          .tensors = {{"mlp.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
