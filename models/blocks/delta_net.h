// Gated delta nets: a short convolution of queries, keys and values, then a recurrent matrix for
// each head that decays and is corrected toward each value. Source: arXiv:2412.06464; transformers
// models/qwen3_next and models/qwen3_5.
#pragma once

#include <string>

#include "models/blocks/norm.h"
#include "models/importer.h"

namespace sinter::models {

struct DeltaNet {
  int64_t key_heads = 0;
  int64_t value_heads = 0;
  int64_t key_dim = 0;    // of a head
  int64_t value_dim = 0;  // of a head
  int64_t taps = 0;
  double eps = 1e-6;  // of the norm of results
  // Rows of queries, keys, values and gates are one matrix, those of the factors of decay and
  // correction another, grouped by key head; else there are four matrices.
  bool grouped = false;
  bool tiled = false;  // heads of values go round those of keys, instead of each having some

  // Below the layer.
  std::string module = "linear_attn.";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId delta_net(Importer& m, const DeltaNet& n, ir::ValueId x, const std::string& layer,
                      int64_t hidden);

}  // namespace sinter::models
