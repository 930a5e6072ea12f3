#include "models/blocks/kimi_delta_attention.h"

#include <cmath>

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

ValueId kimi_delta_attention(Importer& m, const KimiDeltaAttention& a, ValueId x,
                             const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const std::string module = layer + a.module;
  const int64_t width = a.heads * a.head_dim;
  const auto heads = [&](ValueId row) {
    return m.ok() ? g.reshape(row, {Dim::of('T'), a.heads, a.head_dim}) : -1;
  };
  // Queries, keys or values: a projection, then the convolution of each of its features.
  const auto convolved = [&](const std::string& name) {
    const ValueId row = m.linear(x, module + name + "_proj", width, hidden, false);
    const ValueId taps = m.convolution_taps(module + name + "_conv1d", width, a.taps);
    if (!m.ok()) return ValueId{-1};
    g.set_label(module + name + "_conv1d");
    const ValueId before = g.state(state_name(layer, name + "_inputs"),
                                   {ir::StateKind::fixed, {ir::DType::f32, {a.taps - 1, width}}});
    return heads(g.add(Op::silu, {g.add(Op::short_conv, {row, taps, before})}));
  };
  // A product of two matrices that meet in `head_dim` features.
  const auto low_rank = [&](const std::string& name) {
    const ValueId inner = m.linear(x, module + name + "_a_proj", a.head_dim, hidden, false);
    return m.linear(inner, module + name + "_b_proj", width, a.head_dim, false);
  };
  const ValueId q = convolved("q");
  const ValueId k = convolved("k");
  const ValueId v = convolved("v");
  const ValueId forget = low_rank("f");
  const ValueId beta = m.linear(x, module + "b_proj", a.heads, hidden, false);
  const ValueId gate = low_rank("g");
  const ValueId dt_bias = m.flattened(module + "dt_bias", width);
  const ValueId rate = m.computed(
      module + "A_log", {width}, "of -exp", [](double log) { return -std::exp(log); }, a.head_dim);
  const ValueId norm = m.weight(module + "o_norm", {a.head_dim});
  if (!m.ok()) return -1;

  g.set_label(layer + "delta_rule");
  const auto unit = [&](ValueId head) { return g.add(Op::l2_norm, {head}, {{"eps", 1e-6}}); };
  const ValueId query = m.affine(unit(q), 1 / std::sqrt(static_cast<double>(a.head_dim)));
  const ValueId decay =
      g.add(Op::mul, {g.add(Op::softplus, {g.add(Op::add, {forget, dt_bias})}), rate});
  const ValueId matrix =
      g.state(state_name(layer, "delta"),
              {ir::StateKind::fixed, {ir::DType::f32, {a.heads, a.head_dim, a.head_dim}}});
  ValueId y =
      g.add(Op::delta_rule, {query, unit(k), v, heads(decay), g.add(Op::sigmoid, {beta}), matrix});
  y = g.add(Op::rms_norm, {y, norm}, {{"eps", a.eps}});
  y = g.add(Op::mul, {y, g.add(Op::sigmoid, {heads(gate)})});
  y = g.reshape(y, {Dim::of('T'), width});
  return m.linear(y, module + "o_proj", hidden, width, false);
}

}  // namespace sinter::models
