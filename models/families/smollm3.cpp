// SmolLM3: llama of which some layers have no RoPE.
// Source: transformers models/smollm3/modeling_smollm3.py and configuration_smollm3.py.
#include <vector>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

static absl::StatusOr<ir::Module> import_smollm3(Importer& m) {
  Decoder d = read_decoder(m);
  const auto count = static_cast<int64_t>(d.layers.size());
  const int64_t interval = m.integer("no_rope_layer_interval", kSize, 4);
  std::vector<int64_t> with_rope;
  if (m.config().find("no_rope_layers") != nullptr)
    with_rope = m.integers("no_rope_layers", count, {0, 1});
  const bool attention_bias = m.flag("attention_bias", false);
  const bool mlp_bias = m.flag("mlp_bias", false);
  read_windows(m, d, m.flag("use_sliding_window", false));
  if (!m.ok()) return m.finish(-1);
  d.for_each_attention([&](Attention& a, int64_t i) {
    a.qkv_bias = a.output_bias = attention_bias;
    // The list says 1 where there is RoPE.
    const bool rotates =
        with_rope.empty() ? (i + 1) % interval != 0 : with_rope[static_cast<size_t>(i)] == 1;
    if (!rotates) a.rope.reset();
  });
  d.for_each_mlp([&](Mlp& p) { p.bias = mlp_bias; });
  return build(m, d);
}

Family family_smollm3() {
  return {.model_type = "smollm3", .import = import_smollm3, .defaults = R"({
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
    "num_attention_heads": 16, "num_key_value_heads": 4, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 2e6,
    "tie_word_embeddings": true})"};
}

}  // namespace sinter::models
