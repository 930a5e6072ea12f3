// lille-130m: llama in which q, k and v are one matrix, RoPE turns adjacent pairs, and norms lie
// inside the blocks. The MLP's width follows from the model's. Source: Nikity/lille-130m-instruct,
// model.py.
#include <cmath>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_lille(Importer& m) {
  const int64_t hidden = m.integer("hidden_size");
  // Rounded to the even one of two equally near multiples, as Python rounds.
  const int64_t wanted = 8 * hidden / 3;
  const double multiples = static_cast<double>(wanted) / 256;
  m.derive("intermediate_size", 256 * static_cast<int64_t>(std::nearbyint(multiples)));
  Decoder d = read_decoder(m);
  d.norms.before_mixer = "attention.norm";
  d.norms.before_feed_forward = "feed_forward.norm";
  for (Layer& layer : d.layers) {
    layer.attention.packing = Attention::Packing::blocks;
    layer.attention.rope->interleaved = true;
  }
  return build(m, d);
}

Family family_lille_130m() {
  return {.model_type = "lille-130m",
          .import = import_lille,
          .defaults = R"({
    "vocab_size": 32768, "hidden_act": "silu", "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": true})",
          .fields = {{"n_embd", "hidden_size"},
                     {"n_layer", "num_hidden_layers"},
                     {"n_head", "num_attention_heads"},
                     {"n_kv_heads", "num_key_value_heads"},
                     {"block_size", "max_position_embeddings"},
                     {"layer_norm_eps", "rms_norm_eps"}},
          .tensors = {{"^transformer.tok_embeddings", "model.embed_tokens"},
                      {"^transformer", "model"},
                      {"attention.qkv_proj", "self_attn.qkv_proj"},
                      {"attention.out_proj", "self_attn.o_proj"},
                      {"feed_forward.gate_proj", "mlp.gate_proj"},
                      {"feed_forward.up_proj", "mlp.up_proj"},
                      {"feed_forward.down_proj", "mlp.down_proj"}}};
}

}  // namespace sinter::models
