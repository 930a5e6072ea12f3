// NVIDIA's Nemotron-H and Nemotron 3: layers are one mixer each: Mamba-2 with norms of groups,
// attention without positions, an MLP of squared ReLUs, or experts of such MLPs, which may read
// fewer features than the model has. Source: transformers models/nemotron_h.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/experts.h"
#include "models/blocks/state_space.h"
#include "models/family.h"

namespace sinter::models {

namespace {

enum class Kind { mamba, attention, mlp, experts };

// What files call kinds of layers: a letter of hybrid_override_pattern, an entry of
// layers_block_type, and one of later files.
struct KindName {
  Kind kind;
  std::string_view letter, name, later_name;
};
constexpr KindName kKinds[] = {{Kind::mamba, "M", "mamba", "linear_attention"},
                               {Kind::attention, "*", "attention", "full_attention"},
                               {Kind::mlp, "-", "mlp", "mlp"},
                               {Kind::experts, "E", "moe", "moe"}};

// What each layer is; there are as many as these.
std::vector<Kind> read_kinds(Importer& m) {
  const Config& config = m.config();
  std::string field = "layers_block_type";
  std::vector<std::string> names;
  if (const auto* list = config.find(field); list != nullptr) {
    config.mark_read("hybrid_override_pattern");
    names = m.texts(field, list->is_array() ? static_cast<int64_t>(list->size()) : 1);
  } else {
    field = "hybrid_override_pattern";
    for (const char letter : m.text(field)) names.emplace_back(1, letter);
  }
  std::vector<Kind> kinds;
  for (const std::string& name : names) {
    const auto* known = std::ranges::find_if(kKinds, [&](const KindName& kind) {
      return name == kind.letter || name == kind.name || name == kind.later_name;
    });
    if (known == std::end(kKinds)) {
      m.fail(config.refuse(field, fmt::format("has {}, which is not supported; supported are M "
                                              "(mamba), * (attention), - (mlp) and E (moe)",
                                              frontends::in_quotes(name))));
      return kinds;
    }
    kinds.push_back(known->kind);
  }
  if (m.ok() && (kinds.empty() || kinds.size() > 1024))
    m.fail(config.refuse(field, fmt::format("has {} layers, expected 1 to 1024", kinds.size())));
  return kinds;
}

Mamba2 read_state_space(Importer& m, const Norm& norm) {
  m.config().mark_read("expand");  // heads say how many channels there are
  Mamba2 s = read_mamba2(m, 0);
  s.in_bias = s.out_bias = m.flag("use_bias");
  s.act = find_activation(m, "mamba_hidden_act");
  s.norm = norm;
  s.norm_groups = s.groups;
  // transformers has time_step_min where it computes by itself and time_step_limit where kernels
  // do; files have limits that agree.
  s.least_step = std::max(s.least_step, m.number("time_step_min", {0, 1e6}));
  return s;
}

Experts read_latent_experts(Importer& m, bool bias) {
  Experts e = read_deepseek_experts(m);
  e.gated = false;
  e.router = "mixer.gate";
  e.correction = "mixer.gate.e_score_correction_bias";
  e.experts = "mixer.experts";
  if (m.config().find("moe_latent_size") != nullptr) {
    e.latent = m.integer("moe_latent_size");
    e.latent_bias = bias;
    e.to_latent = "mixer.fc1_latent_proj";
    e.from_latent = "mixer.fc2_latent_proj";
  }
  e.shared = Mlp{.width = m.integer("moe_shared_expert_intermediate_size"),
                 .act = e.act,
                 .gated = false,
                 .bias = bias,
                 .up = "mixer.shared_experts.up_proj",
                 .down = "mixer.shared_experts.down_proj"};
  return e;
}

absl::StatusOr<ir::Module> import_nemotron_h(Importer& m) {
  const std::vector<Kind> kinds = read_kinds(m);
  m.derive("num_hidden_layers", kinds.size());
  Decoder d = read_decoder(m);
  if (!m.ok()) return m.finish(-1);
  d.layers.resize(kinds.size(), d.layers.front());
  d.norms.before_mixer = d.norms.before_feed_forward = "norm";
  // What drafts tokens is left out.
  for (const char* field :
       {"num_nextn_predict_layers", "mtp_layers_block_type", "mtp_hybrid_override_pattern"})
    m.config().mark_read(field);
  const bool attention_bias = m.flag("attention_bias");
  const bool mlp_bias = m.flag("mlp_bias");
  const auto has = [&](Kind kind) { return std::ranges::find(kinds, kind) != kinds.end(); };
  Mamba2 s;
  if (has(Kind::mamba)) s = read_state_space(m, d.norm);
  Experts e;
  if (has(Kind::experts)) e = read_latent_experts(m, mlp_bias);
  for (size_t i = 0; i < kinds.size(); ++i) {
    Layer& layer = d.layers[i];
    layer.has_mixer = kinds[i] == Kind::mamba || kinds[i] == Kind::attention;
    layer.has_feed_forward = !layer.has_mixer;
    if (kinds[i] == Kind::mamba) layer.mixer = mixer(s, d.hidden);
    if (kinds[i] == Kind::experts) layer.feed_forward = feed_forward(e, d.hidden);
    Attention& a = layer.attention;
    a.rope.reset();
    a.qkv_bias = a.output_bias = attention_bias;
    a.q = "mixer.q_proj";
    a.k = "mixer.k_proj";
    a.v = "mixer.v_proj";
    a.o = "mixer.o_proj";
    layer.mlp.gated = false;
    layer.mlp.bias = mlp_bias;
    layer.mlp.up = "mixer.up_proj";
    layer.mlp.down = "mixer.down_proj";
  }
  return build(m, d);
}

}  // namespace

Family family_nemotron_h() {
  return {.model_type = "nemotron_h",
          .import = import_nemotron_h,
          .defaults = R"({
    "vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 21504,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "relu2",
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "attention_bias": false,
    "mlp_bias": false, "hybrid_override_pattern": "ME*-", "mamba_n_heads": 128,
    "mamba_d_head": 64, "mamba_n_groups": 8, "mamba_d_state": 128, "mamba_d_conv": 4,
    "mamba_conv_bias": true, "use_bias": false, "mamba_hidden_act": "silu",
    "time_step_min": 0.001, "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 7688, "moe_shared_expert_intermediate_size": 7688,
    "norm_topk_prob": true, "routed_scaling_factor": 1.0, "tie_word_embeddings": false})",
          .fields = {{"layer_norm_epsilon", "rms_norm_eps"},
                     {"norm_eps", "rms_norm_eps"},
                     {"layer_types", "layers_block_type"},
                     {"mlp_hidden_act", "hidden_act"},
                     {"attention_head_dim", "head_dim"},
                     {"mamba_num_heads", "mamba_n_heads"},
                     {"mamba_head_dim", "mamba_d_head"},
                     {"n_groups", "mamba_n_groups"},
                     {"ssm_state_size", "mamba_d_state"},
                     {"conv_kernel", "mamba_d_conv"},
                     {"use_conv_bias", "mamba_conv_bias"},
                     {"mamba_dt_min", "time_step_min"},
                     {"mamba_dt_limit", "time_step_limit"},
                     {"n_routed_experts", "num_experts"},
                     {"num_local_experts", "num_experts"}},
          .tensors = {{"^backbone", "model"},
                      {"model.embeddings", "model.embed_tokens"},
                      {"model.norm_f", "model.norm"},
                      {"mixer.switch_mlp.fc1", "mixer.experts.up_proj"},
                      {"mixer.switch_mlp.fc2", "mixer.experts.down_proj"}},
          .skipped = {"^mtp"}};
}

}  // namespace sinter::models
