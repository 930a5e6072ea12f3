// Cohere's Command models: attention and MLP read one layer norm without bias, RoPE turns adjacent
// pairs, logits are scaled; the second generation has windows, and RoPE on windowed layers alone.
// Source: transformers models/cohere and models/cohere2.
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static Decoder read_cohere(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.kind = Norm::Kind::layer;
  d.norms.before_feed_forward = "";
  d.parallel = true;
  d.logit_scale = m.number("logit_scale", {1e-6, 1e6});
  const bool bias = m.flag("attention_bias", false);
  const bool head_norms = m.flag("use_qk_norm", false);
  for (Layer& layer : d.layers) {
    Attention& a = layer.attention;
    a.qkv_bias = a.output_bias = bias;
    a.qk_norm = d.norm;
    if (head_norms) a.qk_norms = Attention::HeadNorms::each_head;
    a.rope->interleaved = true;
  }
  return d;
}

static absl::StatusOr<ir::Module> import_cohere(Importer& m) {
  Decoder d = read_cohere(m);
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_cohere2(Importer& m) {
  Decoder d = read_cohere(m);
  const int64_t pattern = m.integer("sliding_window_pattern", kSize, 4);
  if (!m.ok()) return m.finish(-1);
  const auto count = static_cast<int64_t>(d.layers.size());
  std::vector<std::string> types;
  if (m.config().find("layer_types") != nullptr) types = m.texts("layer_types", count);
  read_windows(m, d, true);
  d.for_each_attention([&](Attention& a, int64_t i) {
    const bool full =
        types.empty() ? (i + 1) % pattern == 0 : types[static_cast<size_t>(i)] == "full_attention";
    if (!full) return;
    a.window = 0;
    a.rope.reset();
  });
  return build(m, d);
}

Family family_cohere() {
  return {.model_type = "cohere",
          .import = import_cohere,
          .defaults = R"({
    "vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528, "num_hidden_layers": 40,
    "num_attention_heads": 64, "hidden_act": "silu", "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "logit_scale": 0.0625, "tie_word_embeddings": true})",
          .fields = {{"layer_norm_eps", "rms_norm_eps"}}};
}

Family family_cohere2() {
  return {.model_type = "cohere2",
          .import = import_cohere2,
          .defaults = R"({
    "vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528, "num_hidden_layers": 40,
    "num_attention_heads": 64, "hidden_act": "silu", "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "logit_scale": 0.0625, "sliding_window": 4096,
    "tie_word_embeddings": true})",
          .fields = {{"layer_norm_eps", "rms_norm_eps"},
                     {"_sliding_window_pattern", "sliding_window_pattern"}}};
}

}  // namespace sinter::models
