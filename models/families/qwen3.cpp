// Qwen3 (dense), Bonsai: llama with RMS norm on the heads of q and k, before RoPE.
// Source: transformers models/qwen3/modeling_qwen3.py and configuration_qwen3.py.
#include "models/decoder.h"
#include "models/registry.h"

namespace sinter::models {

const nlohmann::json& qwen3_defaults() {
  static const nlohmann::json defaults = {{"vocab_size", 151936},
                                          {"hidden_size", 4096},
                                          {"intermediate_size", 22016},
                                          {"num_hidden_layers", 32},
                                          {"num_attention_heads", 32},
                                          {"num_key_value_heads", 32},
                                          {"head_dim", 128},
                                          {"hidden_act", "silu"},
                                          {"max_position_embeddings", 32768},
                                          {"rms_norm_eps", 1e-6},
                                          {"rope_theta", 1e4},
                                          {"attention_bias", false},
                                          {"use_sliding_window", false},
                                          {"sliding_window", 4096},
                                          {"max_window_layers", 28}};
  return defaults;
}

absl::StatusOr<ir::Module> import_qwen3(Importer& m) {
  return import_decoder(
      m, {.qk_norm = true, .attention_bias = m.flag("attention_bias"), .windows = true});
}

}  // namespace sinter::models
