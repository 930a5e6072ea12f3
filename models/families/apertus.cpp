// Apertus: llama with norms of heads and an MLP of two matrices whose activation, xIELU, has
// learned parameters. Source: transformers models/apertus; xIELU is arXiv:2411.13010.
#include <fmt/format.h>

#include <cmath>
#include <string>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

// With a = softplus(alpha): above 0 it is a_p x^2 + beta x, below (beta + a_n) (e^x - 1 - x) + beta
// x.
static ir::ValueId xielu(Importer& m, ir::ValueId x, const std::string& layer) {
  const std::string name = layer + "mlp.act_fn.";
  const auto parameter = [&](const char* which) { return m.scalar(name + which); };
  const auto softplus = [](double alpha) {
    return alpha > 30 ? alpha : std::log1p(std::exp(alpha));
  };
  const double beta = m.has(name + "beta") ? parameter("beta") : 0.5;
  m.ignore(name + "eps");
  const double above = softplus(parameter("alpha_p"));
  const double below = beta + softplus(parameter("alpha_n"));
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  const ir::ValueId negative = g.add(ir::Op::clamp, {x}, {{"max", 0.0}});
  const ir::ValueId curve =
      g.add(ir::Op::add, {m.affine(g.add(ir::Op::exp, {negative}), 1, -1), m.affine(negative, -1)});
  const ir::ValueId bent =
      g.add(ir::Op::add, {m.affine(g.add(ir::Op::relu2, {x}), above), m.affine(curve, below)});
  return g.add(ir::Op::add, {bent, m.affine(x, beta)});
}

static absl::StatusOr<ir::Module> import_apertus(Importer& m) {
  Decoder d = read_decoder(m);
  d.norms.before_mixer = "attention_layernorm";
  d.norms.before_feed_forward = "feedforward_layernorm";
  const bool bias = m.flag("attention_bias", false);
  m.expect("hidden_act", "xielu");
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    layer.attention.qk_norms = Attention::HeadNorms::head;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.mlp.gated = false;
    layer.mlp.act = [name = fmt::format("model.layers.{}.", i)](Importer& m, ir::ValueId x) {
      return xielu(m, x, name);
    };
  }
  return build(m, d);
}

Family family_apertus() {
  return {.model_type = "apertus", .import = import_apertus, .defaults = R"({
    "vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "xielu", "max_position_embeddings": 65536,
    "rms_norm_eps": 1e-5, "rope_theta": 1.2e7, "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
