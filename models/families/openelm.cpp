// OpenELM: every layer has its own numbers of heads and width of the MLP; q, k and v are one
// matrix, gate and up another, and heads of q and k have norms. Source: apple/OpenELM-270M,
// modeling_openelm.py.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_openelm(Importer& m) {
  const int64_t count = m.integer("num_hidden_layers", {1, 1024});
  if (!m.ok()) return m.finish(-1);
  const std::vector<int64_t> heads = m.integers("num_query_heads", count, kSize);
  const std::vector<int64_t> kv_heads = m.integers("num_kv_heads", count, kSize);
  const std::vector<double> factors = m.numbers("ffn_multipliers", count);
  const int64_t divisor = m.integer("ffn_dim_divisor", kSize, 256);
  m.expect("ffn_with_glu", true);
  m.expect("normalization_layer_name", "rms_norm");
  const bool head_norms = m.flag("normalize_qk_projections");
  const bool tied = m.flag("share_input_output_layers");
  if (!m.ok()) return m.finish(-1);
  m.derive("intermediate_size", 1);
  m.derive("num_attention_heads", heads[0]);
  m.derive("num_key_value_heads", kv_heads[0]);
  Decoder d = read_decoder(m);
  if (!m.ok()) return m.finish(-1);
  d.tied = tied;
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    Attention& a = layer.attention;
    a.heads = heads[i];
    a.kv_heads = kv_heads[i];
    if (a.heads % a.kv_heads != 0)
      m.fail(m.config().refuse("num_query_heads", fmt::format("has {} for layer {}, expected a "
                                                              "multiple of its {} KV heads",
                                                              a.heads, i, a.kv_heads)));
    a.packing = Attention::Packing::blocks;
    if (head_norms) a.qk_norms = Attention::HeadNorms::head;
    // The multiple of the divisor that is nearest, but not less than nine tenths.
    const double wanted = factors[i] * static_cast<double>(d.hidden);
    const auto step = static_cast<double>(divisor);
    double width = std::max(step, std::floor((wanted + step / 2) / step) * step);
    if (width < 0.9 * wanted) width += step;
    if (!(width >= 1 && width <= static_cast<double>(kSize.max)))
      m.fail(m.config().refuse("ffn_multipliers", fmt::format("has {}", factors[i])));
    layer.mlp.width = m.ok() ? static_cast<int64_t>(width) : 1;
    layer.mlp.packed = true;
  }
  return build(m, d);
}

Family family_openelm() {
  return {.model_type = "openelm",
          .import = import_openelm,
          .defaults = R"({
    "vocab_size": 32000, "head_dim": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
    "rope_theta": 1e4, "hidden_act": "swish", "ffn_with_glu": true,
    "normalization_layer_name": "rms_norm", "normalize_qk_projections": false,
    "share_input_output_layers": true})",
          .fields = {{"model_dim", "hidden_size"},
                     {"num_transformer_layers", "num_hidden_layers"},
                     {"max_context_length", "max_position_embeddings"},
                     {"rope_freq_constant", "rope_theta"},
                     {"activation_fn_name", "hidden_act"}},
          .tensors = {{"^transformer.token_embeddings", "model.embed_tokens"},
                      {"^transformer", "model"},
                      {"attn_norm", "input_layernorm"},
                      {"ffn_norm", "post_attention_layernorm"},
                      {"attn.qkv_proj", "self_attn.qkv_proj"},
                      {"attn.out_proj", "self_attn.o_proj"},
                      {"attn.q_norm", "self_attn.q_norm"},
                      {"attn.k_norm", "self_attn.k_norm"},
                      {"ffn.proj_1", "mlp.gate_up_proj"},
                      {"ffn.proj_2", "mlp.down_proj"}}};
}

}  // namespace sinter::models
