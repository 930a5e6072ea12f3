// gpt-oss: attention with sinks, windows on every other layer, biases everywhere; experts whose
// gate and up are clamped, with scores that are shares of those chosen. Source: transformers
// models/gpt_oss/modeling_gpt_oss.py and configuration_gpt_oss.py.
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

// min(gate, limit) sigmoid(1.702 gate) (clamp(up, -limit, limit) + 1)
static ir::ValueId clamped_glu(Importer& m, ir::ValueId gate, ir::ValueId up, double limit) {
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  gate = g.add(ir::Op::clamp, {gate}, {{"max", limit}});
  up = g.add(ir::Op::clamp, {up}, {{"min", -limit}, {"max", limit}});
  const ir::ValueId open = g.add(ir::Op::sigmoid, {m.affine(gate, 1.702)});
  return g.add(ir::Op::mul, {g.add(ir::Op::mul, {gate, open}), m.affine(up, 1, 1)});
}

static absl::StatusOr<ir::Module> import_gpt_oss(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  Experts e = read_experts(m);
  const double limit = m.number("swiglu_limit", {1e-3, 1e6});
  e.scores = Experts::Scores::softmax_of_chosen;
  e.bias = e.router_bias = true;
  e.router = "mlp.router";
  e.glu = [limit](Importer& m, ir::ValueId gate, ir::ValueId up) {
    return clamped_glu(m, gate, up, limit);
  };
  const bool bias = m.flag("attention_bias");
  for (Layer& layer : d.layers) {
    layer.attention.sinks = true;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.feed_forward = feed_forward(e, d.hidden);
  }
  read_windows(m, d, true);
  if (m.config().find("layer_types") == nullptr)
    d.for_each_attention([](Attention& a, int64_t i) {
      if (i % 2 == 1) a.window = 0;
    });
  return build(m, d);
}

Family family_gpt_oss() {
  return {.model_type = "gpt_oss",
          .import = import_gpt_oss,
          .defaults = R"({
    "vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 150000.0,
    "sliding_window": 128, "num_experts": 128, "num_experts_per_tok": 4, "swiglu_limit": 7.0,
    "attention_bias": true, "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}},
          .tensors = {}};
}

}  // namespace sinter::models
