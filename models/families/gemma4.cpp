// Gemma 4: layers with windows and others to all positions, whose heads may be wider and fewer,
// norms of values, layers at the end that read the caches of earlier ones, embeddings of their own
// for every layer, and experts beside the dense MLP. Source: transformers models/gemma4.
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/per_layer_inputs.h"
#include "models/blocks/shared_caches.h"
#include "models/family.h"

namespace sinter::models {

using ir::Op;
using ir::ValueId;

namespace {

// The dense MLP and the experts both read what comes into the block, each between norms of its own;
// the router reads it after a norm with weights of its own.
Block beside_experts(const Decoder& d, const Mlp& p, const Experts& e) {
  return [hidden = d.hidden, norm = d.norm, p, e](Importer& m, ValueId h,
                                                  const std::string& layer) {
    const auto normed = [&](ValueId x, const char* name) {
      return apply(m, norm, x, layer + name, hidden);
    };
    const ValueId dense = normed(mlp(m, p, normed(h, "pre_feedforward_layernorm"), layer, hidden),
                                 "post_feedforward_layernorm_1");
    const ValueId routed =
        m.affine(normed(h, "router.scale"), 1 / std::sqrt(static_cast<double>(hidden)));
    const ValueId sparse =
        normed(experts(m, e, normed(h, "pre_feedforward_layernorm_2"), layer, hidden, routed),
               "post_feedforward_layernorm_2");
    return m.ok() ? m.graph().add(Op::add, {dense, sparse}) : -1;
  };
}

void read_experts_beside(Importer& m, Decoder& d) {
  Experts e = read_experts(m);
  e.normalized = true;
  e.expert_scale = "router.per_expert_scale";
  e.router = "router.proj";
  e.experts = "experts";
  d.norms.before_feed_forward = "";
  for (Layer& layer : d.layers) layer.feed_forward = beside_experts(d, layer.mlp, e);
}

// Which layers attend to all positions: the last always does.
std::vector<std::string> read_types(Importer& m, Decoder& d) {
  const auto count = static_cast<int64_t>(d.layers.size());
  if (m.config().find("layer_types") == nullptr) {
    nlohmann::json types;
    for (int64_t i = 0; i < count; ++i)
      types.push_back((i + 1) % 6 == 0 ? "full_attention" : "sliding_attention");
    m.derive("layer_types", types);
  }
  read_windows(m, d, false);
  std::vector<std::string> types = m.texts("layer_types", count);
  if (!m.ok()) return types;
  types.back() = "full_attention";
  d.layers.back().attention.window = 0;
  return types;
}

// Heads of layers that attend to all positions, or of those that per_layer_config lists.
void read_heads(Importer& m, Decoder& d, const std::vector<std::string>& types, bool keys_alone) {
  const Config& config = m.config();
  const auto given = [&](const char* field) {
    return config.find(field) != nullptr && !config.is_null(field);
  };
  const bool listed = given("per_layer_config");
  const int64_t head_dim = given("global_head_dim") ? m.integer("global_head_dim", {1, 65536}) : 0;
  const int64_t kv_heads =
      given("num_global_key_value_heads") ? m.integer("num_global_key_value_heads") : 0;
  d.for_each_attention([&](Attention& a, int64_t i) {
    if (listed || types[static_cast<size_t>(i)] != "full_attention") return;
    if (head_dim > 0) a.head_dim = head_dim;
    if (kv_heads > 0 && keys_alone) a.kv_heads = kv_heads;
  });
  if (!listed || !m.ok()) return;
  const auto of_layers = config.section("per_layer_config");
  if (!of_layers.ok()) return m.fail(of_layers.status());
  for (const auto& entry : of_layers->fields().items()) {
    size_t layer = 0;
    while (layer < d.layers.size() && std::to_string(layer) != entry.key()) ++layer;
    if (layer == d.layers.size())
      return m.fail(of_layers->refuse(
          entry.key(), fmt::format("is no number of a layer, which are 0 to {}", layer - 1)));
    const auto own = of_layers->section(entry.key());
    if (!own.ok()) return m.fail(own.status());
    Attention& a = d.layers[layer].attention;
    for (const auto& field : own->fields().items()) {
      int64_t* const size = field.key() == "head_dim"              ? &a.head_dim
                            : field.key() == "num_key_value_heads" ? &a.kv_heads
                                                                   : nullptr;
      if (size == nullptr)
        return m.fail(own->refuse(field.key(),
                                  "is not supported; supported are \"head_dim\" and "
                                  "\"num_key_value_heads\""));
      const auto value = own->integer(field.key(), {1, 65536}, *size);
      if (!value.ok()) return m.fail(value.status());
      *size = *value;
    }
  }
}

void read_attention(Importer& m, Decoder& d, const std::vector<std::string>& types) {
  const bool bias = m.flag("attention_bias", false);
  const bool keys_alone = m.flag("attention_k_eq_v", false);
  // Of tokens of images alone it changes nothing in text.
  if (!m.config().is_null("use_bidirectional_attention"))
    m.expect("use_bidirectional_attention", "vision");
  read_heads(m, d, types, keys_alone);
  d.for_each_attention([&](Attention& a, int64_t i) {
    const std::string& type = types[static_cast<size_t>(i)];
    if (m.ok() && a.heads % a.kv_heads != 0)
      m.fail(m.config().refuse("num_attention_heads",
                               fmt::format("is {}, expected a multiple of the {} KV heads of "
                                           "layer {}",
                                           a.heads, a.kv_heads, i)));
    if (!m.ok()) return;
    a.rope = m.rope({.head_dim = a.head_dim, .max_positions = d.max_positions, .layer_type = type});
    a.scale = 1;
    a.qk_norms = Attention::HeadNorms::head;
    a.v_norm = Norm{.eps = d.norm.eps, .has_weight = false};
    a.qkv_bias = a.output_bias = bias;
    a.values_are_keys = keys_alone && type == "full_attention";
  });
}

Decoder read_gemma4(Importer& m) {
  Decoder d = read_decoder(m);
  if (!m.ok()) return d;
  d.embedding_scale = std::sqrt(static_cast<double>(d.hidden));
  d.norms = {.before_mixer = "input_layernorm",
             .after_mixer = "post_attention_layernorm",
             .before_feed_forward = "pre_feedforward_layernorm",
             .after_feed_forward = "post_feedforward_layernorm"};
  d.logit_cap = m.number("final_logit_softcapping", {0, 1e6}, 0);
  const std::vector<std::string> types = read_types(m, d);
  if (m.ok()) read_attention(m, d, types);
  const bool wide = m.flag("use_double_wide_mlp", false);
  if (!m.ok()) return d;
  const size_t first_shared = read_shared_caches(m, d, types);
  for (size_t i = first_shared; wide && i < d.layers.size(); ++i) d.layers[i].mlp.width *= 2;
  if (m.flag("enable_moe_block", false)) read_experts_beside(m, d);
  return d;
}

}  // namespace

static absl::StatusOr<ir::Module> import_gemma4(Importer& m) {
  const Decoder d = read_gemma4(m);
  const PerLayerInputs inputs = read_per_layer_inputs(m, d.norm);
  ValueId h = embedding(m, d);
  const ValueId of_layers = inputs.width > 0 ? per_layer_inputs(m, inputs, h, d.hidden) : -1;
  for (size_t i = 0; i < d.layers.size() && m.ok(); ++i) {
    const std::string name = layer_name(i);
    h = layer(m, d, i, h);
    if (inputs.width > 0) {
      const ValueId input = per_layer_input(m, inputs, h, of_layers, i, name, d.hidden);
      h = m.ok() ? m.graph().add(Op::add, {h, input}) : -1;
    }
    if (m.has(name + "layer_scalar")) h = m.affine(h, m.scalar(name + "layer_scalar"));
  }
  if (!m.ok()) return m.finish(-1);
  m.graph().set_label("lm_head");
  return head(m, d, m.graph().add(Op::last_rows, {h}));
}

Family family_gemma4_text() {
  return {.model_type = "gemma4_text",
          .import = import_gemma4,
          .defaults = R"({
    "vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
    "rope_parameters": {
      "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
      "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25,
                         "rope_theta": 1e6}},
    "sliding_window": 512, "vocab_size_per_layer_input": 262144,
    "hidden_size_per_layer_input": 256, "num_kv_shared_layers": 0, "tie_word_embeddings": true})",
          .fields = {{"hidden_activation", "hidden_act"}, {"top_k_experts", "num_experts_per_tok"}},
          .tensors = {{"experts.switch_glu", "experts"}}};
}

// The text model of the multimodal checkpoints.
Family family_gemma4() {
  Family family = family_gemma4_text();
  family.model_type = "gemma4";
  family.tensors.insert(family.tensors.begin(), {{"^language_model.model", "model"},
                                                 {"^language_model.lm_head", "lm_head"},
                                                 {"^model.language_model", "model"}});
  for (const char* tower : {"vision_tower", "audio_tower", "embed_vision", "embed_audio"})
    for (const char* root : {"^", "^model."}) family.skipped.push_back(std::string(root) + tower);
  return family;
}

}  // namespace sinter::models
