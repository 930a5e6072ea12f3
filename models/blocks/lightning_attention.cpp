#include "models/blocks/lightning_attention.h"

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

ValueId lightning_attention(Importer& m, const LightningAttention& a, ValueId x,
                            const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const std::string module = layer + a.module;
  const int64_t d = a.head_dim;
  const int64_t width = a.heads * d;
  const auto heads = [&](int64_t which, const char* label) {
    const PartOf part{
        module + "qkv_proj", 3 * width, {.run = d, .stored_run = 3 * d, .first = which * d}};
    const ValueId y = m.linear(x, part, module + label, width, hidden, false);
    if (!m.ok()) return ValueId{-1};
    return g.reshape(a.act(m, y), {Dim::of('T'), a.heads, d});
  };
  const ValueId query = heads(0, "q");
  const ValueId key = heads(1, "k");
  const ValueId value = heads(2, "v");
  const ValueId gate = m.linear(x, module + "output_gate", width, hidden, false);
  const ValueId decays = m.constant(module + "log_decays", a.log_decays);
  if (!m.ok()) return -1;
  g.set_label(layer + "attention");
  const ValueId seen =
      g.state(state_name(layer, "scan"), {ir::StateKind::fixed, {ir::DType::f32, {a.heads, d, d}}});
  ValueId y = g.add(Op::selective_scan, {value, decays, key, query, seen});
  y = apply(m, a.norm, g.reshape(y, {Dim::of('T'), width}), module + "norm", width);
  if (!m.ok()) return -1;
  y = g.add(Op::mul, {y, g.add(Op::sigmoid, {gate})});
  return m.linear(y, module + "out_proj", hidden, width, false);
}

}  // namespace sinter::models
