// Hunyuan (dense): llama with norms of heads behind RoPE.
// Source: transformers models/hunyuan_v1_dense.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_hunyuan(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    Attention& a = layer.attention;
    a.qk_norms = Attention::HeadNorms::head;
    a.norm_after_rope = true;
    a.qkv_bias = a.output_bias = bias;
    a.q_norm = "self_attn.query_layernorm";
    a.k_norm = "self_attn.key_layernorm";
  }
  return build(m, d);
}

Family family_hunyuan_v1_dense() {
  return {.model_type = "hunyuan_v1_dense", .import = import_hunyuan, .defaults = R"({
    "vocab_size": 290943, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
