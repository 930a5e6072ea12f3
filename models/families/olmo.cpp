// OLMo: layer norms without weights; OLMo 2: norms of what blocks leave, and over the whole rows of
// q and k; OLMo 3: the same with windows, and RoPE's scaling on full layers alone. Source:
// transformers models/olmo, models/olmo2 and models/olmo3.
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_olmo(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm = {.kind = Norm::Kind::layer, .eps = 1e-5, .has_weight = false};
  const double clip = m.number("clip_qkv", {0, 1e6}, 0);
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.clip = clip;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
  }
  return build(m, d);
}

static Decoder read_olmo2(Importer& m) {
  Decoder d = read_decoder(m);
  d.norms = {.before_mixer = "",
             .after_mixer = "post_attention_layernorm",
             .before_feed_forward = "",
             .after_feed_forward = "post_feedforward_layernorm"};
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qk_norms = Attention::HeadNorms::row;
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
  }
  return d;
}

static absl::StatusOr<ir::Module> import_olmo2(Importer& m) { return build(m, read_olmo2(m)); }

static absl::StatusOr<ir::Module> import_olmo3(Importer& m) {
  Decoder d = read_olmo2(m);
  if (!m.ok()) return m.finish(-1);
  const auto count = static_cast<int64_t>(d.layers.size());
  std::vector<std::string> types;
  if (m.config().find("layer_types") != nullptr) {
    types = m.texts("layer_types", count);
  } else {
    for (int64_t i = 0; i < count; ++i)
      types.emplace_back((i + 1) % 4 == 0 ? "full_attention" : "sliding_attention");
  }
  read_windows(m, d, true);
  // Transformers gives these layers the base of its defaults where rope_parameters has nothing for
  // them; published models have the same base everywhere.
  const Rope local = m.rope({.head_dim = d.layers[0].attention.head_dim,
                             .max_positions = d.max_positions,
                             .layer_type = "sliding_attention",
                             .theta = "sliding_rope_theta",
                             .scaled = false});
  if (!m.ok()) return m.finish(-1);
  d.for_each_attention([&](Attention& a, int64_t i) {
    if (types[static_cast<size_t>(i)] == "sliding_attention") {
      a.rope = local;
    } else {
      a.window = 0;
    }
  });
  return build(m, d);
}

Family family_olmo() {
  return {.model_type = "olmo", .import = import_olmo, .defaults = R"({
    "vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false})"};
}

Family family_olmo2() {
  return {.model_type = "olmo2", .import = import_olmo2, .defaults = R"({
    "vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false})"};
}

Family family_olmo3() {
  return {.model_type = "olmo3", .import = import_olmo3, .defaults = R"({
    "vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 5e5, "sliding_rope_theta": 5e5, "sliding_window": 4096,
    "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
