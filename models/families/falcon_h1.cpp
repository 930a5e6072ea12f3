// Falcon-H1: attention and Mamba-2 side by side on every layer, then an MLP, with factors on almost
// everything. Source: transformers models/falcon_h1.
#include <algorithm>

#include "models/blocks/decoder.h"
#include "models/blocks/state_space.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_falcon_h1(Importer& m) {
  const Config& config = m.config();
  Decoder d = read_decoder(m);
  d.norms.before_feed_forward = "pre_ff_layernorm";
  d.embedding_scale = m.number("embedding_multiplier", {}, 1.0);
  d.logit_scale = m.number("lm_head_multiplier", {}, 1.0);

  const bool says_width = config.find("mamba_d_ssm") != nullptr && !config.is_null("mamba_d_ssm");
  config.mark_read("mamba_expand");  // which the width makes void
  Mamba2 s = read_mamba2(m, says_width ? m.integer("mamba_d_ssm") : expanded(m, d.hidden));
  s.in_bias = m.flag("mamba_proj_bias");
  s.out_bias = m.flag("projectors_bias");
  s.act = find_activation(m, "hidden_act");
  s.module = "mamba.";
  s.input_scale = m.number("ssm_in_multiplier", {}, 1.0);
  if (config.find("ssm_multipliers") != nullptr)
    std::ranges::copy(m.numbers("ssm_multipliers", 5), s.scales.begin());
  s.norm_groups = s.groups;
  s.norm_before_gate = m.flag("mamba_norm_before_gate");
  if (m.flag("mamba_rms_norm")) s.norm = d.norm;
  const double state_space_scale = m.number("ssm_out_multiplier", {}, 1.0);
  const double attention_input = m.number("attention_in_multiplier", {}, 1.0);
  const double attention_scale = m.number("attention_out_multiplier", {}, 1.0);
  const double key_scale = m.number("key_multiplier", {}, 1.0);
  const bool attention_bias = m.flag("attention_bias");
  const bool mlp_bias = m.flag("mlp_bias");
  std::vector<double> mlp_scales = {1, 1};
  if (config.find("mlp_multipliers") != nullptr) mlp_scales = m.numbers("mlp_multipliers", 2);
  if (!m.ok()) return m.finish(-1);

  for (Layer& layer : d.layers) {
    layer.mlp.bias = mlp_bias;
    layer.mlp.gate_scale = mlp_scales[0];
    layer.mlp.down_scale = mlp_scales[1];
    Attention a = layer.attention;
    a.qkv_bias = a.output_bias = attention_bias;
    a.scale *= key_scale;  // scores are linear in keys, and so is RoPE
    layer.mixer = [=, hidden = d.hidden](Importer& m, ir::ValueId x, const std::string& name) {
      const ir::ValueId mixed = m.affine(mamba2(m, s, x, name, hidden), state_space_scale);
      const ir::ValueId attended =
          m.affine(attention(m, a, m.affine(x, attention_input), name, hidden), attention_scale);
      return m.ok() ? m.graph().add(ir::Op::add, {mixed, attended}) : -1;
    };
  }
  return build(m, d);
}

Family family_falcon_h1() {
  return {.model_type = "falcon_h1",
          .import = import_falcon_h1,
          .defaults = R"({
    "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_theta": 1e5, "attention_bias": false, "mlp_bias": false, "projectors_bias": false,
    "mamba_d_ssm": 1024, "mamba_n_heads": 128, "mamba_d_head": "auto", "mamba_n_groups": 1,
    "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": true,
    "mamba_proj_bias": false, "mamba_rms_norm": false, "mamba_norm_before_gate": true,
    "tie_word_embeddings": false})",
          .tensors = {{"model.final_layernorm", "model.norm"},
                      {"feed_forward", "mlp"},
                      {"mamba.dt.bias", "mamba.dt_bias"}}};  // of GGUF files
}

}  // namespace sinter::models
