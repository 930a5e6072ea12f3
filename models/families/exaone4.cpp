// EXAONE 4: norms of what blocks leave, and of heads; in models with windows, RoPE on windowed
// layers alone. Source: transformers models/exaone4/modeling_exaone4.py and
// configuration_exaone4.py.
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_exaone4(Importer& m) {
  Decoder d = read_decoder(m);
  d.norms = {.before_mixer = "",
             .after_mixer = "post_attention_layernorm",
             .before_feed_forward = "",
             .after_feed_forward = "post_feedforward_layernorm"};
  const bool windows = m.config().has("sliding_window");
  const int64_t pattern = m.config().is_null("sliding_window_pattern")
                              ? 0
                              : m.integer("sliding_window_pattern", kSize, 4);
  if (!m.ok()) return m.finish(-1);
  const auto count = static_cast<int64_t>(d.layers.size());
  std::vector<std::string> types;
  if (m.config().find("layer_types") != nullptr) types = m.texts("layer_types", count);
  read_windows(m, d, windows && pattern > 0);
  d.for_each_attention([&](Attention& a, int64_t i) {
    a.qk_norms = Attention::HeadNorms::head;
    const bool full = types.empty() ? pattern == 0 || (i + 1) % pattern == 0
                                    : types[static_cast<size_t>(i)] == "full_attention";
    if (!full) return;
    a.window = 0;
    if (windows) a.rope.reset();
  });
  return build(m, d);
}

Family family_exaone4() {
  return {.model_type = "exaone4", .import = import_exaone4, .defaults = R"({
    "vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "tie_word_embeddings": false})"};
}

}  // namespace sinter::models
