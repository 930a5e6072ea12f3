// Per-layer embeddings: every layer has a small embedding of the token, mixed with a projection of
// the model's own, which a gate lets into the residual stream. Source: transformers models/gemma3n
// and models/gemma4.
#pragma once

#include <string>

#include "models/blocks/mlp.h"
#include "models/blocks/norm.h"
#include "models/importer.h"

namespace sinter::models {

struct PerLayerInputs {
  int64_t vocab = 0;  // rows of the table; tokens beyond have the first
  int64_t width = 0;  // of a layer's; 0: the model has none
  int64_t layers = 0;
  Activation act;
  Norm norm;
};

// The fields vocab_size_per_layer_input, hidden_size_per_layer_input, num_hidden_layers and
// hidden_act.
PerLayerInputs read_per_layer_inputs(Importer& m, const Norm& norm);

// Of all layers, [T, layers * width], from the embeddings h [T, hidden].
ir::ValueId per_layer_inputs(Importer& m, const PerLayerInputs& p, ir::ValueId h, int64_t hidden);

// What layer `index`, whose names begin with `layer`, adds for x [T, hidden], of `inputs`, those of
// all layers.
ir::ValueId per_layer_input(Importer& m, const PerLayerInputs& p, ir::ValueId x, ir::ValueId inputs,
                            size_t index, const std::string& layer, int64_t hidden);

}  // namespace sinter::models
