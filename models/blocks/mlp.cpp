#include "models/blocks/mlp.h"

#include <fmt/ranges.h>

#include <array>

namespace sinter::models {

using ir::Op;
using ir::ValueId;

namespace {

struct Known {
  std::string_view name;
  Op op;
};
// As transformers names them.
constexpr std::array<Known, 11> kActivations = {{
    {"silu", Op::silu},
    {"swish", Op::silu},
    {"relu2", Op::relu2},
    {"gelu", Op::gelu_erf},
    {"gelu_python", Op::gelu_erf},
    {"gelu_pytorch_tanh", Op::gelu},
    {"gelu_new", Op::gelu},
    {"gelu_fast", Op::gelu},
    {"gelu_accurate", Op::gelu},
    {"sigmoid", Op::sigmoid},
    {"tanh", Op::tanh},
}};

}  // namespace

Activation find_activation(Importer& m, std::string_view field) {
  const std::string name = m.text(field);
  if (!m.ok()) return {};
  for (const Known& row : kActivations)
    if (row.name == name)
      return [op = row.op](Importer& m, ValueId x) { return m.graph().add(op, {x}); };
  std::vector<std::string_view> known;
  for (const Known& row : kActivations) known.push_back(row.name);
  // Where the family has one of its own, this is never asked for.
  const auto status =
      m.config().refuse(field, fmt::format("is {}, which is not supported; known: {}",
                                           frontends::in_quotes(name), fmt::join(known, ", ")));
  return [status](Importer& m, ValueId) {
    m.fail(status);
    return ValueId{-1};
  };
}

ValueId mlp(Importer& m, const Mlp& p, ValueId x, const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const auto project = [&](const std::string& module, int64_t first) {
    PartOf part{layer + module, p.width, {}};
    if (p.packed)
      part = {layer + p.gate_up,
              2 * p.width,
              {.run = p.width, .stored_run = 2 * p.width, .first = first}};
    if (p.transposed) part.places.transposed = part.whole;
    return m.linear(x, part, layer + module, p.width, hidden, p.bias);
  };
  const ValueId gate = p.gated ? project(p.gate, 0) : -1;
  const ValueId up = project(p.up, p.width);
  if (!m.ok()) return -1;
  g.set_label(layer + "act");
  ValueId y = p.gated ? g.add(Op::mul, {p.act(m, m.affine(gate, p.gate_scale)), up}) : p.act(m, up);
  if (p.norm)
    y = apply_first(m, *p.norm, y, layer, {"mlp.ffn_sub_norm", "mlp.ffn_layernorm"}, p.width);
  y = m.linear(y, {layer + p.down, hidden, {.transposed = p.transposed ? hidden : 0}},
               layer + p.down, hidden, p.width, p.bias);
  return m.affine(y, p.down_scale);
}

}  // namespace sinter::models
