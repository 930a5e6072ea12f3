// Lightning attention: heads of queries, keys and values, of which a matrix for each head keeps
// what has been seen, and forgets it at a rate of its own. Source: arXiv:2401.04658; transformers
// models/minimax.
#pragma once

#include <string>
#include <vector>

#include "models/blocks/mlp.h"
#include "models/blocks/norm.h"
#include "models/importer.h"

namespace sinter::models {

struct LightningAttention {
  int64_t heads = 0;
  int64_t head_dim = 0;
  Activation act = {};                 // of queries, keys and values
  std::vector<float> log_decays = {};  // of each head, for each position; below 0
  Norm norm;                           // of the results of all heads together

  // Below the layer. qkv_proj has for each head its query, key and value.
  std::string module = "self_attn.";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId lightning_attention(Importer& m, const LightningAttention& a, ir::ValueId x,
                                const std::string& layer, int64_t hidden);

}  // namespace sinter::models
