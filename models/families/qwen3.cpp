// Qwen3 (dense), Bonsai: llama with RMS norm on the heads of q and k, before RoPE.
// Source: transformers models/qwen3/modeling_qwen3.py and configuration_qwen3.py.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_qwen3(Importer& m) {
  Decoder d = read_decoder(m);
  const bool attention_bias = m.flag("attention_bias");
  for (Layer& layer : d.layers) {
    layer.attention.qk_norms = Attention::HeadNorms::head;
    layer.attention.qkv_bias = layer.attention.output_bias = attention_bias;
  }
  read_late_windows(m, d);
  return build(m, d);
}

Family family_qwen3() {
  return {.model_type = "qwen3", .import = import_qwen3, .defaults = R"({
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "attention_bias": false,
    "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28})"};
}

}  // namespace sinter::models
