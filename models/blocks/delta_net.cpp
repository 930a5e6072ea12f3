#include "models/blocks/delta_net.h"

#include <array>
#include <cmath>

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

namespace {

struct Projections {
  ValueId qkv = -1;   // [T, 2 key_heads key_dim + value_heads value_dim]
  ValueId z = -1;     // [T, value_heads value_dim]
  ValueId beta = -1;  // [T, value_heads], before the sigmoid
  ValueId decay = -1;
};

Projections project(Importer& m, const DeltaNet& n, ValueId x, const std::string& module,
                    int64_t hidden) {
  const int64_t keys = n.key_heads * n.key_dim;
  const int64_t values = n.value_heads * n.value_dim;
  Projections out;
  const int64_t share = n.value_heads / n.key_heads;
  if (n.grouped && m.has(module + "in_proj_qkvz")) {
    // Of each key head: its query, its key, its values, their gates.
    const std::array<int64_t, 4> runs = {n.key_dim, n.key_dim, share * n.value_dim,
                                         share * n.value_dim};
    const int64_t together = runs[0] + runs[1] + runs[2] + runs[3];
    const auto part = [&](size_t which) {
      int64_t first = 0;
      for (size_t i = 0; i < which; ++i) first += runs[i];
      return PartOf{module + "in_proj_qkvz",
                    n.key_heads * together,
                    {.run = runs[which], .stored_run = together, .first = first}};
    };
    out.qkv = m.linear(x, {part(0), part(1), part(2)}, module + "in_proj_qkv", hidden);
    out.z = m.linear(x, part(3), module + "in_proj_z", values, hidden, false);
  } else {
    out.qkv = m.linear(x, module + "in_proj_qkv", 2 * keys + values, hidden, false);
    out.z = m.linear(x, module + "in_proj_z", values, hidden, false);
  }
  if (n.grouped && m.has(module + "in_proj_ba")) {
    const auto factor = [&](int64_t first, const char* label) {
      const PartOf part{module + "in_proj_ba",
                        2 * n.value_heads,
                        {.run = share, .stored_run = 2 * share, .first = first}};
      return m.linear(x, part, module + label, n.value_heads, hidden, false);
    };
    out.beta = factor(0, "in_proj_b");
    out.decay = factor(share, "in_proj_a");
  } else {
    out.beta = m.linear(x, module + "in_proj_b", n.value_heads, hidden, false);
    out.decay = m.linear(x, module + "in_proj_a", n.value_heads, hidden, false);
  }
  return out;
}
}  // namespace

ValueId delta_net(Importer& m, const DeltaNet& n, ValueId x, const std::string& layer,
                  int64_t hidden) {
  ir::Builder& g = m.graph();
  const std::string module = layer + n.module;
  const int64_t keys = n.key_heads * n.key_dim;
  const int64_t values = n.value_heads * n.value_dim;
  const int64_t channels = 2 * keys + values;
  const Projections in = project(m, n, x, module, hidden);
  const ValueId taps = m.convolution_taps(module + "conv1d", channels, n.taps);
  const ValueId dt_bias = m.weight(module + "dt_bias", {n.value_heads});
  const ValueId rate = m.has(module + "A_log")
                           ? m.computed(module + "A_log", {n.value_heads}, "of -exp",
                                        [](double log) { return -std::exp(log); })
                           : m.weight(module + "A", {n.value_heads});
  const ValueId norm = m.weight(module + "norm", {n.value_dim});
  if (!m.ok()) return -1;

  g.set_label(module + "conv1d");
  const ValueId before = g.state(state_name(layer, "inputs"),
                                 {ir::StateKind::fixed, {ir::DType::f32, {n.taps - 1, channels}}});
  const ValueId mixed = g.add(Op::silu, {g.add(Op::short_conv, {in.qkv, taps, before})});
  g.set_label(layer + "delta_rule");
  const auto heads = [&](int64_t begin, int64_t count, int64_t dim) {
    const ValueId part =
        g.add(Op::slice, {mixed}, {{"begin", begin}, {"end", begin + count * dim}});
    return g.reshape(part, {Dim::of('T'), count, dim});
  };
  const auto unit = [&](ValueId head) { return g.add(Op::l2_norm, {head}, {{"eps", 1e-6}}); };
  const ValueId q = m.affine(unit(heads(0, n.key_heads, n.key_dim)),
                             1 / std::sqrt(static_cast<double>(n.key_dim)));
  const ValueId k = unit(heads(keys, n.key_heads, n.key_dim));
  const ValueId v = heads(2 * keys, n.value_heads, n.value_dim);
  const ValueId log_decay =
      g.add(Op::mul, {g.add(Op::softplus, {g.add(Op::add, {in.decay, dt_bias})}), rate});
  const ValueId beta = g.add(Op::sigmoid, {in.beta});
  const ValueId matrix =
      g.state(state_name(layer, "delta"),
              {ir::StateKind::fixed, {ir::DType::f32, {n.value_heads, n.value_dim, n.key_dim}}});
  ir::Attributes attributes;
  if (n.tiled && n.value_heads != n.key_heads) attributes["heads"] = std::string("tiled");
  ValueId y = g.add(Op::delta_rule, {q, k, v, log_decay, beta, matrix}, attributes);
  y = g.add(Op::rms_norm, {y, norm}, {{"eps", n.eps}});
  const ValueId z = g.reshape(in.z, {Dim::of('T'), n.value_heads, n.value_dim});
  y = g.add(Op::mul, {y, g.add(Op::silu, {z})});
  y = g.reshape(y, {Dim::of('T'), values});
  return m.linear(y, module + "out_proj", hidden, values, false);
}

}  // namespace sinter::models
