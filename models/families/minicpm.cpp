// MiniCPM: llama with scaled embeddings, what blocks add scaled by the depth, logits by the width.
// Source: openbmb/MiniCPM-2B-sft-bf16, modeling_minicpm.py.
#include <algorithm>
#include <cmath>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_minicpm(Importer& m) {
  Decoder d = read_decoder(m);
  d.embedding_scale = m.number("scale_emb");
  const double depth = m.number("scale_depth");
  d.residual_scale = depth / std::sqrt(std::max(1.0, static_cast<double>(d.layers.size())));
  d.logit_scale = static_cast<double>(m.integer("dim_model_base", kSize, d.hidden)) /
                  static_cast<double>(d.hidden);
  return build(m, d);
}

Family family_minicpm() {
  return {.model_type = "minicpm", .import = import_minicpm, .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "scale_emb": 1.0, "scale_depth": 1.0})"};
}

}  // namespace sinter::models
