// Attention over the keys and values of earlier positions.
#pragma once

#include <optional>
#include <string>

#include "models/blocks/norm.h"
#include "models/importer.h"
#include "models/rope.h"

namespace sinter::models {

struct Attention {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  double scale = 0;  // of scores
  std::optional<Rope> rope;
  std::optional<Rope> query_rope;  // of queries, where theirs is another
  int64_t chunk = 0;  // positions of the chunks that rows see nothing outside of; 0: there are none
  int64_t window = 0;  // positions that a row sees, itself included; 0: all
  double cap = 0;      // of scores: cap tanh(score / cap); 0: none

  // How the rows of q, k and v are stored: as three matrices, or as one, q_proj|k_proj|v_proj, for
  // each KV head the query heads that share it, its key and its value, or for each head its query,
  // key and value.
  enum class Packing { apart, blocks, kv_heads, heads };
  Packing packing = Packing::apart;
  bool transposed = false;  // matrices are stored so
  bool qkv_bias = false;
  bool output_bias = false;
  double clip = 0;  // q, k and v lie in -clip..clip; 0: anywhere
  bool clip_after_norm = false;
  bool sinks = false;  // a further column of the softmax, of value 0, with a score for each head

  // Norms of q and k: none, of each head, each head with weights of its own, or over whole rows.
  enum class HeadNorms { none, head, each_head, row };
  HeadNorms qk_norms = HeadNorms::none;
  Norm qk_norm;
  bool norm_after_rope = false;
  std::optional<Norm> v_norm;    // of each head of v
  bool values_are_keys = false;  // v is what k is before its norm
  // The layer, "model.layers.3.", that caches the keys and values; empty: this one.
  std::string cached_by;

  // What is multiplied with the sigmoid of a gate: none, one beside each query head in q_proj, or a
  // projection of its own.
  enum class Gate { none, in_query, apart };
  Gate gate = Gate::none;
  std::optional<Norm> output_norm;  // before the output projection, where the file has its weights

  // Modules, below that of the layer.
  std::string q = "self_attn.q_proj", k = "self_attn.k_proj", v = "self_attn.v_proj";
  std::string qkv = "self_attn.qkv_proj", o = "self_attn.o_proj", gate_proj = "self_attn.gate_proj";
  std::string q_norm = "self_attn.q_norm", k_norm = "self_attn.k_norm";
  std::string v_norm_module = "self_attn.v_norm";
};

// x [T,hidden] -> [T,hidden]. `layer`: "model.layers.3.", the beginning of its names.
ir::ValueId attention(Importer& m, const Attention& a, ir::ValueId x, const std::string& layer,
                      int64_t hidden);

}  // namespace sinter::models
