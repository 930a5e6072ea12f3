// The dense feed-forward block.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/blocks/norm.h"
#include "models/importer.h"

namespace sinter::models {

// A function of single numbers, as nodes.
using Activation = std::function<ir::ValueId(Importer&, ir::ValueId)>;

// The activation that transformers has under this name. Fails with the names that are known;
// `field` is where the name is from.
Activation find_activation(Importer& m, std::string_view field);

struct Mlp {
  int64_t width = 0;  // of the hidden layer
  Activation act = {};
  bool gated = true;        // down(act(gate(x)) * up(x)), else down(act(up(x)))
  bool packed = false;      // gate_proj and up_proj are one matrix, gate first
  bool transposed = false;  // matrices are stored so
  bool bias = false;
  std::optional<Norm> norm = {};  // before the last product, where the file has its weights
  double gate_scale = 1, down_scale = 1;

  // Modules, below that of the layer.
  std::string gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";
  std::string gate_up = "mlp.gate_up_proj";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId mlp(Importer& m, const Mlp& p, ir::ValueId x, const std::string& layer, int64_t hidden);

}  // namespace sinter::models
