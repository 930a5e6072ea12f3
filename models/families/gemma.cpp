// Gemma 1 to 3: embeddings times the root of their width, norms whose weights are stored less 1, a
// GLU with gelu; Gemma 2 and 3 have norms before and after blocks, layers with windows and caps on
// logits, Gemma 3 norms of heads and two bases of RoPE. Source: transformers models/gemma,
// models/gemma2 and models/gemma3.
#include <cmath>
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/family.h"

namespace sinter::models {

// What all have. `checkpoints` of GGUF files have 1 added already.
static Decoder read_gemma(Importer& m) {
  Decoder d = read_decoder(m);
  d.norm.less_one = !m.flag("norms_have_one", false);
  d.embedding_scale = std::sqrt(static_cast<double>(d.hidden));
  const bool bias = m.flag("attention_bias", false);
  for (Layer& layer : d.layers) {
    layer.attention.qkv_bias = layer.attention.output_bias = bias;
    layer.attention.qk_norm = d.norm;
  }
  return d;
}

// Gemma 2 and 3: four norms, a scale of scores that the configuration says.
static void read_later(Importer& m, Decoder& d, size_t layers_of_27b) {
  // GGUF files do not say the scale of scores: it follows from the width of a head, but in the 27B
  // models.
  if (m.ok() && m.config().has("norms_have_one"))
    m.derive("query_pre_attn_scalar", d.layers.size() == layers_of_27b
                                          ? d.hidden / d.layers[0].attention.heads
                                          : d.layers[0].attention.head_dim);
  d.norms = {.before_mixer = "input_layernorm",
             .after_mixer = "post_attention_layernorm",
             .before_feed_forward = "pre_feedforward_layernorm",
             .after_feed_forward = "post_feedforward_layernorm"};
  d.logit_cap = m.number("final_logit_softcapping", {0, 1e6}, 0);
  const double scalar = m.number("query_pre_attn_scalar", {1e-6, 1e9});
  const double cap = m.number("attn_logit_softcapping", {0, 1e6}, 0);
  for (Layer& layer : d.layers) {
    layer.attention.scale = 1 / std::sqrt(scalar);
    layer.attention.cap = cap;
  }
}

static absl::StatusOr<ir::Module> import_gemma(Importer& m) { return build(m, read_gemma(m)); }

static absl::StatusOr<ir::Module> import_gemma2(Importer& m) {
  Decoder d = read_gemma(m);
  read_later(m, d, 46);
  read_windows(m, d, true);
  if (m.config().find("layer_types") == nullptr)
    d.for_each_attention([](Attention& a, int64_t i) {
      if (i % 2 == 1) a.window = 0;
    });
  return build(m, d);
}

static absl::StatusOr<ir::Module> import_gemma3(Importer& m) {
  Decoder d = read_gemma(m);
  read_later(m, d, 62);
  read_windows(m, d, true);
  const int64_t pattern = m.integer("sliding_window_pattern", kSize, 6);
  const bool listed = m.config().find("layer_types") != nullptr;
  if (!m.ok()) return m.finish(-1);
  const int64_t head_dim = d.layers[0].attention.head_dim;
  const Rope local = m.rope({.head_dim = head_dim,
                             .max_positions = d.max_positions,
                             .layer_type = "sliding_attention",
                             .theta = "rope_local_base_freq",
                             .scaled = false});
  const std::vector<std::string> types =
      listed ? m.texts("layer_types", static_cast<int64_t>(d.layers.size()))
             : std::vector<std::string>();
  d.for_each_attention([&](Attention& a, int64_t i) {
    a.qk_norms = Attention::HeadNorms::head;
    const bool full =
        listed ? types[static_cast<size_t>(i)] == "full_attention" : (i + 1) % pattern == 0;
    if (full) a.window = 0;
    if (!full) a.rope = local;
  });
  return build(m, d);
}

Family family_gemma() {
  return {.model_type = "gemma",
          .import = import_gemma,
          .defaults = R"({
    "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "rope_theta": 1e4, "tie_word_embeddings": true})",
          .fields = {{"hidden_activation", "hidden_act"}}};
}

Family family_gemma2() {
  return {.model_type = "gemma2",
          .import = import_gemma2,
          .defaults = R"({
    "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "rope_theta": 1e4, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
    "tie_word_embeddings": true})",
          .fields = {{"hidden_activation", "hidden_act"}}};
}

Family family_gemma3_text() {
  return {.model_type = "gemma3_text",
          .import = import_gemma3,
          .defaults = R"({
    "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
    "rope_theta": 1e6, "rope_local_base_freq": 1e4, "query_pre_attn_scalar": 256,
    "sliding_window": 4096, "tie_word_embeddings": true})",
          .fields = {{"hidden_activation", "hidden_act"},
                     {"_sliding_window_pattern", "sliding_window_pattern"}}};
}

// The text model of Gemma 3's multimodal checkpoints.
Family family_gemma3() {
  Family family = family_gemma3_text();
  family.model_type = "gemma3";
  family.tensors = {{"^language_model.model", "model"},
                    {"^language_model.lm_head", "lm_head"},
                    {"^model.language_model", "model"}};
  family.skipped = {"^vision_tower", "^model.vision_tower", "^multi_modal_projector",
                    "^model.multi_modal_projector"};
  return family;
}

}  // namespace sinter::models
