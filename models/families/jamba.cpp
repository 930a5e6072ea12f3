// AI21's Jamba: Mamba with norms of steps, b and c on most layers, on every few attention without
// positions; MLPs, on every few layers experts. Source: transformers models/jamba.
#include <fmt/format.h>

#include <string>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/state_space.h"
#include "models/family.h"

namespace sinter::models {

namespace {

// Layers i with i % period == offset.
struct Every {
  int64_t period = 1;
  int64_t offset = 0;
  bool has(size_t i) const { return static_cast<int64_t>(i) % period == offset; }
};

Every read_every(Importer& m, const std::string& what) {
  const std::string offset = what + "_layer_offset";
  const std::string period = what + "_layer_period";
  const Every every{.period = m.integer(period, {1, 1024}), .offset = m.integer(offset, {0, 1024})};
  if (m.ok() && every.offset >= every.period)
    m.fail(m.config().refuse(offset,
                             fmt::format("is {}, but {} is {}; no layer is meant", every.offset,
                                         m.config().name(period), every.period)));
  return every;
}

absl::StatusOr<ir::Module> import_jamba(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  d.norms.before_feed_forward = "pre_ff_layernorm";
  Mamba s = read_mamba(m, d.hidden);
  s.bias = m.flag("mamba_proj_bias");
  s.norm = d.norm;
  s.module = "mamba.";
  const Every attention = read_every(m, "attn");
  const Every sparse = read_every(m, "expert");
  const bool has_experts = m.integer("num_experts", {1, 1 << 16}) > 1;
  Experts e;
  if (has_experts) {
    e = read_experts(m);
    e.router = "mlp.router";
  }
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    layer.attention.rope.reset();
    if (!attention.has(i)) layer.mixer = mixer(s, d.hidden);
    if (has_experts && sparse.has(i)) layer.feed_forward = feed_forward(e, d.hidden);
  }
  return build(m, d);
}

}  // namespace

Family family_jamba() {
  return {.model_type = "jamba",
          .import = import_jamba,
          .defaults = R"({
    "vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 262144, "rms_norm_eps": 1e-6, "num_experts": 16,
    "num_experts_per_tok": 2, "attn_layer_period": 8, "attn_layer_offset": 4,
    "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 16, "mamba_d_conv": 4,
    "mamba_expand": 2, "mamba_dt_rank": "auto", "mamba_conv_bias": true,
    "mamba_proj_bias": false, "tie_word_embeddings": false})",
          .tensors = {{"model.final_layernorm", "model.norm"},
                      {"feed_forward.switch_mlp", "mlp.experts"},
                      {"feed_forward", "mlp"}}};
}

}  // namespace sinter::models
