// Kimi delta attention: a delta net in which every feature of a key decays at a rate of its own.
// Source: arXiv:2510.26692; transformers models/kimi_linear.
#pragma once

#include <string>

#include "models/importer.h"

namespace sinter::models {

struct KimiDeltaAttention {
  int64_t heads = 0;
  int64_t head_dim = 0;  // of queries, keys and values
  int64_t taps = 0;      // of the short convolutions
  double eps = 1e-6;     // of the norm of results

  // Below the layer.
  std::string module = "self_attn.";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId kimi_delta_attention(Importer& m, const KimiDeltaAttention& a, ir::ValueId x,
                                 const std::string& layer, int64_t hidden);

}  // namespace sinter::models
