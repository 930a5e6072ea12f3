// Mistral and Ministral: llama with a window on all layers or on those that layer_types names.
// Source: transformers models/mistral, models/ministral and models/ministral3.
#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_mistral(Importer& m) {
  Decoder d = read_decoder(m);
  read_windows(m, d, true);
  return build(m, d);
}

// Queries grow with the logarithm of their position.
static absl::StatusOr<ir::Module> import_ministral3(Importer& m) {
  Decoder d = read_decoder(m);
  read_windows(m, d, true);
  const auto home = m.config().has("rope_parameters") ? m.config().section("rope_parameters")
                                                      : m.config().section("rope_scaling");
  if (!m.ok()) return m.finish(-1);
  if (home.ok() && home->has("llama_4_scaling_beta")) {
    home->mark_read("max_position_embeddings");
    const auto beta = home->number("llama_4_scaling_beta", {0, 1e3});
    const auto period = home->integer("original_max_position_embeddings", kSize);
    m.fail(beta.status());
    m.fail(period.status());
    if (!m.ok()) return m.finish(-1);
    for (Layer& layer : d.layers) {
      layer.attention.query_rope = layer.attention.rope;
      layer.attention.query_rope->log_scale = *beta;
      layer.attention.query_rope->log_period = *period;
    }
  }
  return build(m, d);
}

Family family_mistral() {
  return {.model_type = "mistral", .import = import_mistral, .defaults = R"({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "sliding_window": 4096})"};
}

Family family_ministral3() {
  Family family = family_mistral();
  family.model_type = "ministral3";
  family.import = import_ministral3;
  return family;
}

Family family_ministral() {
  Family family = family_mistral();
  family.model_type = "ministral";
  return family;
}

}  // namespace sinter::models
