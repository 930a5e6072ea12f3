// Llama 2 and 3, and what is published under its name.
// Source: transformers models/llama/modeling_llama.py and configuration_llama.py.
#include "models/decoder.h"
#include "models/registry.h"

namespace sinter::models {

const nlohmann::json& llama_defaults() {
  static const nlohmann::json defaults = {{"vocab_size", 32000},
                                          {"hidden_size", 4096},
                                          {"intermediate_size", 11008},
                                          {"num_hidden_layers", 32},
                                          {"num_attention_heads", 32},
                                          {"hidden_act", "silu"},
                                          {"max_position_embeddings", 2048},
                                          {"rms_norm_eps", 1e-6},
                                          {"rope_theta", 1e4},
                                          {"attention_bias", false},
                                          {"mlp_bias", false}};
  return defaults;
}

absl::StatusOr<ir::Module> import_llama(Importer& m) {
  return import_decoder(m, {.qk_norm = false,
                            .attention_bias = m.flag("attention_bias"),
                            .mlp_bias = m.flag("mlp_bias", false),
                            // 1bitLLM's BitNet models call themselves llama.
                            .sub_norms = m.config().find("weight_bits") != nullptr});
}

}  // namespace sinter::models
