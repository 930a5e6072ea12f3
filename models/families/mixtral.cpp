// Mixtral: Mistral's attention, experts on every layer whose scores are shares of those chosen.
// Source: transformers models/mixtral/modeling_mixtral.py and configuration_mixtral.py.
#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_mixtral(Importer& m) {
  m.derive("moe_intermediate_size", m.integer("intermediate_size"));
  Decoder d = read_decoder(m);
  Experts e = read_experts(m);
  e.scores = Experts::Scores::softmax_of_chosen;
  for (Layer& layer : d.layers) layer.feed_forward = feed_forward(e, d.hidden);
  read_windows(m, d, true);
  return build(m, d);
}

Family family_mixtral() {
  return {.model_type = "mixtral",
          .import = import_mixtral,
          .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "num_experts": 8, "num_experts_per_tok": 2, "tie_word_embeddings": false})",
          .fields = {{"num_local_experts", "num_experts"}},
          .tensors = {{"block_sparse_moe.switch_mlp", "mlp.experts"},
                      {"block_sparse_moe.experts.*.w1", "mlp.experts.*.gate_proj"},
                      {"block_sparse_moe.experts.*.w3", "mlp.experts.*.up_proj"},
                      {"block_sparse_moe.experts.*.w2", "mlp.experts.*.down_proj"},
                      {"block_sparse_moe.gate", "mlp.gate"}}};
}

}  // namespace sinter::models
