// Decoder-only models: an embedding, layers of a mixer (attention, or what stands in its place) and
// a feed-forward block, a head. A family takes what llama does and says where it differs.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/blocks/attention.h"
#include "models/blocks/mlp.h"
#include "models/blocks/mtp.h"
#include "models/blocks/norm.h"
#include "models/importer.h"

namespace sinter::models {

// What a block's result and the residual stream become: kept h + added x.
struct Residual {
  double kept = 1;
  double added = 1;
};

struct Layer {
  Attention attention;
  Mlp mlp;
  Block mixer;         // in place of attention
  Block feed_forward;  // in place of the MLP
  bool has_mixer = true;
  bool has_feed_forward = true;
  Residual mixer_sum, feed_forward_sum;
};

// Where a layer has norms, by the names below it; empty: there is none.
struct LayerNorms {
  std::string before_mixer = "input_layernorm";
  std::string after_mixer;
  std::string before_feed_forward = "post_attention_layernorm";
  std::string after_feed_forward;
};

struct Decoder {
  int64_t hidden = 0;
  int64_t vocab = 0;
  int64_t max_positions = 0;
  bool tied = false;
  Norm norm;
  LayerNorms norms;
  // Mixer and feed-forward block both read what comes into the layer, each after its norm; without
  // one of its own the feed-forward block has that of the mixer.
  bool parallel = false;
  bool normed_residual = false;  // what norms before blocks give goes on as the residual stream

  double embedding_scale = 1;
  double residual_scale = 1;  // of what blocks add, beside the layer's
  double logit_scale = 1;
  double logit_cap = 0;  // cap tanh(logits / cap); 0: none
  bool head_bias = false;
  bool learned_positions = false;  // embeddings of positions, "model.embed_positions"
  bool norm_embedding = false;

  std::vector<Layer> layers;
  std::optional<Mtp> mtp;  // the head that drafts tokens, which is built where it is asked for

  // Each layer's.
  void for_each_attention(const std::function<void(Attention&, int64_t layer)>& change);
  void for_each_mlp(const std::function<void(Mlp&)>& change);
};

// What is around layers: hidden_size, vocab_size, max_position_embeddings, rms_norm_eps,
// tie_word_embeddings, and as many empty layers as num_hidden_layers says.
Decoder read_stack(Importer& m);

// Llama, with the sizes of the configuration: hidden_size, intermediate_size, num_hidden_layers,
// num_attention_heads, num_key_value_heads, head_dim, vocab_size, max_position_embeddings,
// rms_norm_eps, hidden_act, tie_word_embeddings and the fields of RoPE.
Decoder read_decoder(Importer& m);

// Windows as layer_types and sliding_window say, or else, where `by_default`, on every layer. Only
// windows that are narrower than the context count.
void read_windows(Importer& m, Decoder& d, bool by_default);

// Qwen's: without layer_types, layers from max_window_layers on have the window where
// use_sliding_window is true.
void read_late_windows(Importer& m, Decoder& d);

// tokens -> logits [L, vocab], with --mtp as build_with_mtp says. An entry's flags
// (models/blocks/flags.h) are applied first.
absl::StatusOr<ir::Module> build(Importer& m, Decoder d);

// The same in parts, for families that have more between them. The table of angles and tokens ->
// [T, hidden]; a layer, [T, hidden] -> [T, hidden]; the last norm and the head, [L, hidden] ->
// logits.
ir::ValueId embedding(Importer& m, const Decoder& d);
ir::ValueId layer(Importer& m, const Decoder& d, size_t index, ir::ValueId h);
absl::StatusOr<ir::Module> head(Importer& m, const Decoder& d, ir::ValueId h);
std::string layer_name(size_t index);  // "model.layers.3.", the beginning of its names

// A layer of other names, [T, hidden] -> [T, hidden]; rows of a table, tokens -> [T, hidden],
// scaled; the last norm and the head, [L, hidden] -> logits [L, vocab].
ir::ValueId build_layer(Importer& m, const Decoder& d, const Layer& layer, const std::string& name,
                        ir::ValueId h);
ir::ValueId token_embedding(Importer& m, const Decoder& d, const std::string& table);
struct HeadNames {
  std::string norm = "model.norm";
  std::string matrix = {};  // the model's where it is empty
};
ir::ValueId head_logits(Importer& m, const Decoder& d, ir::ValueId h, const HeadNames& names = {});

}  // namespace sinter::models
