#include "models/blocks/short_convolution.h"

namespace sinter::models {

using ir::Op;
using ir::ValueId;

ValueId short_convolution(Importer& m, const ShortConvolution& s, ValueId x,
                          const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const auto third = [&](int64_t which, const char* label) {
    return m.linear(x,
                    {layer + s.in,
                     3 * hidden,
                     {.run = hidden, .stored_run = 3 * hidden, .first = which * hidden}},
                    layer + s.in + label, hidden, hidden, s.bias);
  };
  const ValueId b = third(0, ".b");
  const ValueId c = third(1, ".c");
  const ValueId inner = third(2, ".x");
  const ValueId taps = m.convolution_taps(layer + s.taps_name, hidden, s.taps);
  const ValueId bias = s.bias ? m.weight(layer + s.taps_name + ".bias", {hidden}) : -1;
  if (!m.ok()) return -1;
  g.set_label(layer + s.taps_name);
  const ValueId before = g.state(state_name(layer, "inputs"),
                                 {ir::StateKind::fixed, {ir::DType::f32, {s.taps - 1, hidden}}});
  ValueId y = g.add(Op::short_conv, {g.add(Op::mul, {b, inner}), taps, before});
  if (bias >= 0) y = g.add(Op::add, {y, bias});
  y = g.add(Op::mul, {c, y});
  return m.linear(y, layer + s.out, hidden, hidden, s.bias);
}

}  // namespace sinter::models
