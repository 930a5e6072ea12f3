// StarCoder2: layer norms, an MLP of two matrices, biases, and a window on every layer.
// Source: transformers models/starcoder2/modeling_starcoder2.py and configuration_starcoder2.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_starcoder2(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norm.has_bias = true;
  const bool bias = m.flag("use_bias");
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.mlp.gated = false;
    layer.mlp.bias = bias;
  }
  read_windows(m, d, true);
  return build(m, d);
}

Family family_starcoder2() {
  return {.model_type = "starcoder2",
          .import = import_starcoder2,
          .defaults = R"({
    "vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 30,
    "num_attention_heads": 24, "num_key_value_heads": 2, "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "use_bias": true,
    "tie_word_embeddings": true})",
          .fields = {{"norm_epsilon", "rms_norm_eps"}},
          .tensors = {{"mlp.c_fc", "mlp.up_proj"}, {"mlp.c_proj", "mlp.down_proj"}}};
}

}  // namespace sinter::models
