// LFM2 and LFM2-MoE: gated short convolutions on most layers, attention with norms of heads on the
// others; with experts, the first layers are dense and the others are chosen by sigmoids. Source:
// transformers models/lfm2 and models/lfm2_moe.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/short_convolution.h"
#include "models/family.h"

namespace sinter::models {

static Decoder read_lfm2(Importer& m) {
  Decoder d = read_decoder(m);
  d.norms.before_mixer = "operator_norm";
  d.norms.before_feed_forward = "ffn_norm";
  const ShortConvolution convolution{.taps = m.integer("conv_L_cache", {2, 64}),
                                     .bias = m.flag("conv_bias", false)};
  const auto count = static_cast<int64_t>(d.layers.size());
  const std::vector<std::string> types = m.texts("layer_types", count);
  if (!m.ok()) return d;
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Attention& a = d.layers[i].attention;
    a.qk_norms = Attention::HeadNorms::head;
    a.o = "self_attn.out_proj";
    a.q_norm = "self_attn.q_layernorm";
    a.k_norm = "self_attn.k_layernorm";
    if (types[i] == "conv") {
      d.layers[i].mixer = [convolution, hidden = d.hidden](Importer& m, ir::ValueId x,
                                                           const std::string& layer) {
        return short_convolution(m, convolution, x, layer, hidden);
      };
    } else if (types[i] != "full_attention") {
      m.fail(m.config().refuse("layer_types",
                               fmt::format("has {}, which is not supported; supported are "
                                           "\"full_attention\" and \"conv\"",
                                           frontends::in_quotes(types[i]))));
    }
  }
  return d;
}

static absl::StatusOr<ir::Module> import_lfm2(Importer& m) {
  if (m.config().has("block_ff_dim")) m.derive("intermediate_size", m.integer("block_ff_dim"));
  Decoder d = read_lfm2(m);
  if (m.ok() && m.flag("block_auto_adjust_ff_dim")) {
    const int64_t multiple = m.integer("block_multiple_of");
    const double factor = m.number("block_ffn_dim_multiplier", {1e-3, 1e3}, 1.0);
    const int64_t of_three = 2 * d.layers[0].mlp.width / 3;  // rounded down
    const auto width = static_cast<int64_t>(factor * static_cast<double>(of_three));
    const int64_t rounded = (width + multiple - 1) / multiple * multiple;
    d.for_each_mlp([&](Mlp& p) { p.width = rounded; });
  }
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_lfm2_moe(Importer& m) {
  Decoder d = read_lfm2(m);
  Experts e = read_experts(m);
  e.scores = Experts::Scores::sigmoid;
  if (m.flag("use_expert_bias")) e.correction = "mlp.expert_bias";
  e.normalized = m.flag("norm_topk_prob");
  e.sum_eps = 1e-6;
  e.scale = m.number("routed_scaling_factor", {1e-6, 1e6});
  const int64_t dense = m.integer("num_dense_layers", {0, 1024});
  for (size_t i = 0; i < d.layers.size(); ++i)
    if (static_cast<int64_t>(i) >= dense) d.layers[i].feed_forward = feed_forward(e, d.hidden);
  return build(m, d);
}

static const std::vector<Rename> kLfm2Tensors = {
    {"model.embedding_norm", "model.norm"},
    {"mlp.expert_correction.bias", "mlp.expert_bias"},  // of GGUF files
    {"feed_forward.experts.*.w1", "mlp.experts.*.gate_proj"},
    {"feed_forward.experts.*.w3", "mlp.experts.*.up_proj"},
    {"feed_forward.experts.*.w2", "mlp.experts.*.down_proj"},
    {"feed_forward.switch_mlp", "mlp.experts"},
    {"feed_forward.w1", "mlp.gate_proj"},
    {"feed_forward.w3", "mlp.up_proj"},
    {"feed_forward.w2", "mlp.down_proj"},
    {"feed_forward", "mlp"}};

Family family_lfm2() {
  return {.model_type = "lfm2",
          .import = import_lfm2,
          .defaults = R"({
    "vocab_size": 65536, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 128000, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "conv_L_cache": 3, "block_multiple_of": 256, "block_auto_adjust_ff_dim": true,
    "tie_word_embeddings": true})",
          .fields = {{"norm_eps", "rms_norm_eps"}, {"tie_embedding", "tie_word_embeddings"}},
          .tensors = kLfm2Tensors};
}

Family family_lfm2_moe() {
  return {.model_type = "lfm2_moe",
          .import = import_lfm2_moe,
          .defaults = R"({
    "vocab_size": 65536, "hidden_size": 2048, "intermediate_size": 7168, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 128000, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "conv_L_cache": 3, "num_experts": 32, "num_experts_per_tok": 4,
    "moe_intermediate_size": 1792, "num_dense_layers": 2, "use_expert_bias": true,
    "norm_topk_prob": true, "routed_scaling_factor": 1.0, "tie_word_embeddings": true})",
          .fields = {{"norm_eps", "rms_norm_eps"}, {"tie_embedding", "tie_word_embeddings"}},
          .tensors = kLfm2Tensors};
}

}  // namespace sinter::models
