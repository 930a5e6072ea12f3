// BitNet b1.58 and Falcon-E: llama with norms before the output projections of attention and MLP,
// which Falcon-E and others leave out, and squared ReLU.
// Source: transformers models/bitnet/modeling_bitnet.py and configuration_bitnet.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_bitnet(Importer& m) {
  Decoder d = read_decoder(m);
  const bool attention_bias = m.flag("attention_bias");
  const bool mlp_bias = m.flag("mlp_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
    layer.attention.output_norm = layer.mlp.norm = d.norm;
  }
  read_windows(m, d, false);
  return build(m, d);
}

Family family_bitnet() {
  return {.model_type = "bitnet", .import = import_bitnet, .defaults = R"({
    "vocab_size": 128256, "hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 30,
    "num_attention_heads": 20, "num_key_value_heads": 5, "hidden_act": "relu2",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
    "attention_bias": false, "mlp_bias": false})"};
}

}  // namespace sinter::models
