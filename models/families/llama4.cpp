// Llama 4 (text): attention in chunks with RoPE on adjacent pairs and norms behind it, on every
// fourth layer attention to all positions without RoPE, whose queries grow with the logarithm of
// their position; one expert for each token, whose input is scaled, beside a shared MLP. Source:
// transformers models/llama4/modeling_llama4.py and configuration_llama4.py.
#include <algorithm>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_llama4(Importer& m) {
  const int64_t expert_width = m.integer("intermediate_size");
  Decoder d = read_decoder(m);
  const int64_t dense_width = m.integer("intermediate_size_mlp");
  const auto count = static_cast<int64_t>(d.layers.size());
  const int64_t chunk = m.config().is_null("attention_chunk_size")
                            ? 0
                            : m.integer("attention_chunk_size", {0, 1 << 30});
  const bool norms = m.flag("use_qk_norm", true);
  const bool bias = m.flag("attention_bias", false);
  const bool tuned = m.flag("attn_temperature_tuning", true);
  const int64_t period = m.integer("floor_scale", kSize);
  const double growth = m.number("attn_scale");
  const int64_t step = m.integer("interleave_moe_layer_step", kSize);
  m.derive("moe_intermediate_size", expert_width);
  Experts e = read_experts(m);
  if (m.ok() && e.chosen != 1) m.expect("num_experts_per_tok", 1);
  e.scores = Experts::Scores::sigmoid_of_chosen;
  e.scores_of_input = e.transposed = true;
  e.router = "feed_forward.router";
  e.experts = "feed_forward.experts";
  e.shared = Mlp{.width = expert_width,
                 .act = e.act,
                 .gate = "feed_forward.shared_expert.gate_proj",
                 .up = "feed_forward.shared_expert.up_proj",
                 .down = "feed_forward.shared_expert.down_proj"};
  std::vector<int64_t> with_rope;
  if (const auto* list = m.config().find("no_rope_layers");
      list != nullptr && list->is_array() && !list->empty())
    with_rope = m.integers("no_rope_layers", count, {0, 1});
  if (!m.ok()) return m.finish(-1);
  m.config().mark_read("layer_types");  // it follows from the layers that have RoPE
  m.config().mark_read("moe_layers");
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    Attention& a = layer.attention;
    a.qkv_bias = a.output_bias = bias;
    // The list says 1 where there is RoPE.
    const bool rotates = with_rope.empty() ? (i + 1) % 4 != 0 : with_rope[i] == 1;
    if (rotates) {
      a.rope->interleaved = true;
      a.chunk = chunk < m.max_positions ? chunk : 0;
      if (norms) a.qk_norms = Attention::HeadNorms::head;
      a.qk_norm.has_weight = false;
      a.norm_after_rope = true;
    } else {
      a.rope.reset();
      if (tuned) {
        // Rotated by nothing, so that only the growth is left.
        a.query_rope = Rope{.inv_freq = std::vector<float>(static_cast<size_t>(a.head_dim / 2)),
                            .log_scale = growth,
                            .log_period = period,
                            .log_offset = 1};
      }
    }
    layer.mlp.width = dense_width;
    layer.mlp.gate = "feed_forward.gate_proj";
    layer.mlp.up = "feed_forward.up_proj";
    layer.mlp.down = "feed_forward.down_proj";
    if ((static_cast<int64_t>(i) + 1) % step == 0) layer.feed_forward = feed_forward(e, d.hidden);
  }
  return build(m, d);
}

Family family_llama4_text() {
  return {.model_type = "llama4_text",
          .import = import_llama4,
          .defaults = R"({
    "vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192,
    "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40,
    "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
    "num_experts": 16, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1,
    "attention_chunk_size": 8192, "floor_scale": 8192, "attn_scale": 0.1,
    "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}}};
}

Family family_llama4() {
  Family family = family_llama4_text();
  family.model_type = "llama4";
  family.tensors = {{"^language_model.model", "model"},
                    {"^language_model.lm_head", "lm_head"},
                    {"^model.language_model", "model"}};
  family.skipped = {"^vision_model", "^model.vision_model", "^multi_modal_projector",
                    "^model.multi_modal_projector"};
  return family;
}

}  // namespace sinter::models
