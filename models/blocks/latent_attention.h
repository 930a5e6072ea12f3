// Multi-head latent attention: keys and values of all heads are made of one short row, and a part
// of each key, the one that is rotated, is the same for all heads. Source: arXiv:2405.04434,
// section 2.1; transformers models/deepseek_v2 and models/deepseek_v3.
#pragma once

#include <optional>
#include <string>

#include "models/importer.h"
#include "models/rope.h"

namespace sinter::models {

struct LatentAttention {
  int64_t heads = 0;
  int64_t query_rank = 0;    // features that queries are made of; 0: they are made of the input
  int64_t kv_rank = 0;       // features that keys and values are made of
  int64_t key_dim = 0;       // of a head's key, the part of its own
  int64_t shared_dim = 0;    // the part that all heads share
  int64_t value_dim = 0;     // of a head's value
  double scale = 0;          // of scores
  std::optional<Rope> rope;  // of the shared part
  bool bias = false;         // of the projections from and to the hidden size
  double eps = 1e-6;         // of the norms of both short rows, whatever that of other norms is

  // Below the layer.
  std::string module = "self_attn.";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId latent_attention(Importer& m, const LatentAttention& a, ir::ValueId x,
                             const std::string& layer, int64_t hidden);

// num_attention_heads, q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim
// and attention_bias; without RoPE.
LatentAttention read_latent_attention(Importer& m);
// RoPE of the shared part, and what YaRN makes of the scale of scores. rope_interleave says which
// features are pairs: neighbours unless it is false.
void read_latent_rope(Importer& m, LatentAttention& a);

}  // namespace sinter::models
