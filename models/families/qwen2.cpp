// Qwen2 and Qwen2.5: llama with biases on q, k and v, and windows on late layers.
// Source: transformers models/qwen2/modeling_qwen2.py and configuration_qwen2.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_qwen2(Importer& m) {
  Decoder d = read_decoder(m);
  for (Layer& layer : d.layers) layer.attention.qkv_bias = true;
  read_late_windows(m, d);
  return build(m, d);
}

Family family_qwen2() {
  return {.model_type = "qwen2", .import = import_qwen2, .defaults = R"({
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28})"};
}

}  // namespace sinter::models
