// GLM-4 (glm) and GLM-4-0414 (glm4): RoPE turns adjacent pairs of a part of each head, gate and up
// are one matrix; the later one has norms before and after blocks. Source: transformers models/glm
// and models/glm4.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static Decoder read_glm(Importer& m) {
  Decoder d = read_decoder(m);
  const bool bias = m.flag("attention_bias");
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = bias;
    layer.attention.rope->interleaved = true;
    layer.mlp.packed = true;
  }
  return d;
}

static absl::StatusOr<ir::Module> import_glm(Importer& m) {
  const Decoder d = read_glm(m);
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_glm4(Importer& m) {
  Decoder d = read_glm(m);
  d.norms = {.before_mixer = "input_layernorm",
             .after_mixer = "post_self_attn_layernorm",
             .before_feed_forward = "post_attention_layernorm",
             .after_feed_forward = "post_mlp_layernorm"};
  return build(m, d);
}

Family family_glm() {
  return {.model_type = "glm", .import = import_glm, .defaults = R"({
    "vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
    "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1.5625e-7, "rope_theta": 1e4,
    "partial_rotary_factor": 0.5, "attention_bias": true, "tie_word_embeddings": false})"};
}

Family family_glm4() {
  Family family = family_glm();
  family.model_type = "glm4";
  family.import = import_glm4;
  return family;
}

}  // namespace sinter::models
