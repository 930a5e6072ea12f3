#include "models/blocks/norm.h"

namespace sinter::models {

ir::ValueId apply(Importer& m, const Norm& norm, ir::ValueId x, const std::string& name,
                  int64_t size) {
  const ir::ValueId w =
      !norm.has_weight ? m.constant(size, 1)
      : norm.less_one  ? m.computed(name, {size}, "+ 1", [](double weight) { return weight + 1; })
                       : m.weight(name, {size});
  const ir::ValueId bias = norm.has_bias ? m.weight(name + ".bias", {size}) : -1;
  if (!m.ok()) return -1;
  m.graph().set_label(name);
  std::vector<ir::ValueId> operands = {x, w};
  if (bias >= 0) operands.push_back(bias);
  const ir::Op op = norm.kind == Norm::Kind::rms ? ir::Op::rms_norm : ir::Op::layer_norm;
  return m.graph().add(op, operands, {{"eps", norm.eps}});
}

ir::ValueId apply_first(Importer& m, const Norm& norm, ir::ValueId x, const std::string& layer,
                        std::initializer_list<const char*> names, int64_t size) {
  for (const char* name : names)
    if (m.has(layer + name)) return apply(m, norm, x, layer + name, size);
  return x;
}

}  // namespace sinter::models
