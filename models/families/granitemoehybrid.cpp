// IBM's Granite 4: Mamba-2 or attention, then experts and an MLP that every token goes through,
// with Granite's factors; some have no experts, and most no positions in attention.
// Source: transformers models/granitemoehybrid.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/state_space.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_granitemoehybrid(Importer& m) {
  const Config& config = m.config();
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  d.embedding_scale = m.number("embedding_multiplier");
  d.residual_scale = m.number("residual_multiplier");
  d.logit_scale = 1 / m.number("logits_scaling", {1e-6, 1e6});
  const double scale = m.number("attention_multiplier");
  const bool bias = m.flag("attention_bias", false);
  const std::string positions = m.text("position_embedding_type", "nope");
  if (m.ok() && positions != "nope" && positions != "rope")
    m.fail(config.refuse("position_embedding_type",
                         fmt::format("is {}, which is not supported; supported are \"rope\" and "
                                     "\"nope\"",
                                     frontends::in_quotes(positions))));

  const Mlp shared{.width = m.integer("shared_intermediate_size"),
                   .act = find_activation(m, "hidden_act"),
                   .packed = true,
                   .down = "shared_mlp.output_linear",
                   .gate_up = "shared_mlp.input_linear"};
  Experts e;
  if (m.integer("num_experts", {0, 1 << 16}) > 0) {
    e = read_experts(m);
    e.scores = Experts::Scores::softmax_of_chosen;
    e.shared = shared;
  }

  std::vector<std::string> types(d.layers.size(), "mamba");
  if (config.find("layer_types") != nullptr)
    types = m.texts("layer_types", static_cast<int64_t>(d.layers.size()));
  const auto is = [&](size_t i, std::string_view name, std::string_view other) {
    return types[i] == name || types[i] == other;
  };
  if (!m.ok()) return m.finish(-1);
  Mamba2 s;
  bool has_state_space = false;
  for (size_t i = 0; i < types.size(); ++i) {
    if (is(i, "attention", "full_attention")) continue;
    if (!is(i, "mamba", "linear_attention"))
      m.fail(config.refuse("layer_types",
                           fmt::format("has {}, which is not supported; supported are \"mamba\" "
                                       "and \"attention\"",
                                       frontends::in_quotes(types[i]))));
    has_state_space = true;
  }
  if (has_state_space) {
    s = read_mamba2(m, expanded(m, d.hidden));
    s.in_bias = s.out_bias = m.flag("mamba_proj_bias");
    s.act = find_activation(m, "hidden_act");
    s.norm = d.norm;
    s.module = "mamba.";
  }
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    layer.attention.scale = scale;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    if (positions == "nope") layer.attention.rope.reset();
    layer.mlp = shared;
    if (e.count > 0) layer.feed_forward = feed_forward(e, d.hidden);
    if (is(i, "mamba", "linear_attention")) layer.mixer = mixer(s, d.hidden);
  }
  return build(m, d);
}

Family family_granitemoehybrid() {
  return {.model_type = "granitemoehybrid",
          .import = import_granitemoehybrid,
          .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0, "logits_scaling": 1.0, "attention_multiplier": 1.0,
    "num_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 1024,
    "mamba_n_heads": 128, "mamba_d_head": "auto", "mamba_n_groups": 1, "mamba_d_state": 256,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": true, "mamba_proj_bias": false,
    "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}, {"layers_block_type", "layer_types"}},
          .tensors = {{"block_sparse_moe.input_linear", "mlp.experts.gate_up_proj"},
                      {"block_sparse_moe.output_linear", "mlp.experts.down_proj"},
                      {"block_sparse_moe.router.layer", "mlp.gate"},
                      {"block_sparse_moe.router", "mlp.gate"},
                      {"block_sparse_moe.switch_mlp", "mlp.experts"}}};
}

}  // namespace sinter::models
