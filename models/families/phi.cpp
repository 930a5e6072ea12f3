// Phi-1 to Phi-2: attention and an MLP of two matrices read one layer norm; biases everywhere.
// Source: transformers models/phi/modeling_phi.py and configuration_phi.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_phi(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  d.norms.before_feed_forward = "";
  d.parallel = true;
  d.head_bias = true;
  const bool head_norms = m.flag("qk_layernorm", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = true;
    if (head_norms) layer.attention.qk_norms = Attention::HeadNorms::head;
    layer.attention.qk_norm = d.norm;
    layer.mlp.gated = false;
    layer.mlp.bias = true;
  }
  return build(m, d);
}

Family family_phi() {
  return {.model_type = "phi",
          .import = import_phi,
          .defaults = R"({
    "vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
    "num_attention_heads": 32, "hidden_act": "gelu_new", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "partial_rotary_factor": 0.5,
    "tie_word_embeddings": false})",
          .fields = {{"layer_norm_eps", "rms_norm_eps"}},
          .tensors = {{"self_attn.dense", "self_attn.o_proj"},
                      {"self_attn.q_layernorm", "self_attn.q_norm"},
                      {"self_attn.k_layernorm", "self_attn.k_norm"},
                      {"mlp.fc1", "mlp.up_proj"},
                      {"mlp.fc2", "mlp.down_proj"},
                      {"model.final_layernorm", "model.norm"}}};
}

}  // namespace sinter::models
