#include "models/blocks/per_layer_inputs.h"

#include <cmath>

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

PerLayerInputs read_per_layer_inputs(Importer& m, const Norm& norm) {
  PerLayerInputs p;
  if (!m.config().is_null("hidden_size_per_layer_input"))
    p.width = m.integer("hidden_size_per_layer_input", {0, 1 << 20});
  p.vocab = m.integer("vocab_size_per_layer_input");
  p.layers = m.integer("num_hidden_layers", {1, 1024});
  p.act = find_activation(m, "hidden_act");
  p.norm = norm;
  return p;
}

ValueId per_layer_inputs(Importer& m, const PerLayerInputs& p, ValueId h, int64_t hidden) {
  const int64_t all = p.layers * p.width;
  const ValueId table = m.weight("model.embed_tokens_per_layer", {p.vocab, all});
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  const std::vector<Dim> by_layer = {Dim::of('T'), p.layers, p.width};
  g.set_label("model.embed_tokens_per_layer");
  ir::Attributes beyond;
  if (p.vocab < m.integer("vocab_size")) beyond["first_beyond"] = true;
  const ValueId rows = g.add(Op::embed, {m.tokens(), m.dense(table)}, beyond);
  const ValueId of_token =
      m.affine(m.rotated_back(rows, table), std::sqrt(static_cast<double>(p.width)));
  ValueId of_model = m.linear(h, "model.per_layer_model_projection", all, hidden, false);
  of_model = m.affine(of_model, 1 / std::sqrt(static_cast<double>(hidden)));
  if (!m.ok()) return -1;
  of_model =
      apply(m, p.norm, g.reshape(of_model, by_layer), "model.per_layer_projection_norm", p.width);
  if (!m.ok()) return -1;
  g.set_label("model.per_layer_inputs");
  const ValueId sum = g.add(Op::add, {g.reshape(of_model, {Dim::of('T'), all}), of_token});
  return m.affine(sum, std::sqrt(0.5));
}

ValueId per_layer_input(Importer& m, const PerLayerInputs& p, ValueId x, ValueId inputs,
                        size_t index, const std::string& layer, int64_t hidden) {
  ValueId y = m.linear(x, layer + "per_layer_input_gate", p.width, hidden, false);
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  const auto begin = static_cast<int64_t>(index) * p.width;
  const ValueId input = g.add(Op::slice, {inputs}, {{"begin", begin}, {"end", begin + p.width}});
  y = g.add(Op::mul, {p.act(m, y), input});
  y = m.linear(y, layer + "per_layer_projection", hidden, p.width, false);
  return apply(m, p.norm, y, layer + "post_per_layer_input_norm", hidden);
}

}  // namespace sinter::models
