// MiniMax-Text-01: lightning attention on most layers, attention of all positions on the others,
// experts on all; what norms give goes on as the residual stream, with factors for it and for what
// blocks add. Source: transformers models/minimax.
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/lightning_attention.h"
#include "models/family.h"

namespace sinter::models {

namespace {

// Slopes of heads are a geometric series that ends at 2^-8; later layers forget less.
std::vector<float> log_decays(int64_t heads, int64_t layer, int64_t layers) {
  const double left =
      1 - static_cast<double>(layer) / (static_cast<double>(layers) - 1 + 1e-5) + 1e-5;
  std::vector<float> decays;
  for (int64_t h = 1; h <= heads; ++h)
    decays.push_back(static_cast<float>(
        -left * std::exp2(-8 * static_cast<double>(h) / static_cast<double>(heads))));
  return decays;
}

Residual read_residual(Importer& m, const std::string& block) {
  return {.kept = m.number(block + "_alpha_factor", {}, 1.0),
          .added = m.number(block + "_beta_factor", {}, 1.0)};
}

absl::StatusOr<ir::Module> import_minimax(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  d.normed_residual = true;
  Experts e = read_experts(m);
  e.scores = Experts::Scores::softmax_of_chosen;
  const Residual full = read_residual(m, "full_attn");
  const Residual linear = read_residual(m, "linear_attn");
  const Residual feed = read_residual(m, "mlp");
  const int64_t width =
      m.config().is_null("sliding_window") ? 0 : m.integer("sliding_window", {0, kSize.max}, 0);
  const int64_t heads = m.integer("num_attention_heads", {1, 1 << 16});
  const auto count = static_cast<int64_t>(d.layers.size());
  std::vector<std::string> types;
  for (int64_t i = 0; i < count; ++i)
    types.emplace_back(i % 2 == 0 ? "full_attention" : "linear_attention");
  if (m.config().find("layer_types") != nullptr) types = m.texts("layer_types", count);
  const LightningAttention lightning{
      .heads = heads, .act = find_activation(m, "hidden_act"), .norm = {.eps = 1e-6}};
  if (!m.ok()) return m.finish(-1);
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    layer.feed_forward = feed_forward(e, d.hidden);
    layer.feed_forward_sum = feed;
    layer.mixer_sum = types[i] == "full_attention" ? full : linear;
    layer.attention.window = width < m.max_positions ? width : 0;
    if (types[i] == "linear_attention") {
      LightningAttention a = lightning;
      a.head_dim = layer.attention.head_dim;
      a.log_decays = log_decays(heads, static_cast<int64_t>(i), count);
      layer.mixer = [a, hidden = d.hidden](Importer& m, ir::ValueId x, const std::string& name) {
        return lightning_attention(m, a, x, name, hidden);
      };
    } else if (types[i] != "full_attention") {
      m.fail(m.config().refuse("layer_types",
                               fmt::format("has {}, which is not supported; supported are "
                                           "\"full_attention\" and \"linear_attention\"",
                                           frontends::in_quotes(types[i]))));
    }
  }
  return build(m, d);
}

}  // namespace

Family family_minimax() {
  return {.model_type = "minimax",
          .import = import_minimax,
          .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "num_experts": 8, "num_experts_per_tok": 2, "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}},
          .tensors = {{"block_sparse_moe.switch_mlp", "mlp.experts"},
                      {"block_sparse_moe.experts.*.w1", "mlp.experts.*.gate_proj"},
                      {"block_sparse_moe.experts.*.w3", "mlp.experts.*.up_proj"},
                      {"block_sparse_moe.experts.*.w2", "mlp.experts.*.down_proj"},
                      {"block_sparse_moe", "mlp"}}};
}

}  // namespace sinter::models
