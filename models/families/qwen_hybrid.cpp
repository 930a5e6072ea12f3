// Qwen3-Next, Qwen3.5 and what is made of them (Bonsai-27B): gated delta nets on most layers, on
// every fourth attention with a gate on its result, norms of heads and RoPE on a part of each;
// dense MLPs, or experts with a shared one. Source: transformers models/qwen3_next, models/qwen3_5
// and models/qwen3_5_moe.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/delta_net.h"
#include "models/blocks/experts.h"
#include "models/blocks/sparse_layers.h"
#include "models/family.h"

namespace sinter::models {

namespace {

// Whether the file has weights of norms less 1: what transformers writes, not MLX and not GGUF. The
// extents of the convolution's taps tell the two apart, and where the weights speak plainly, they
// count.
bool norms_are_less_one(Importer& m, const std::string& delta_layer) {
  if (m.config().has("norms_have_one")) return !m.flag("norms_have_one");
  const std::vector<int64_t> taps = m.stored_shape(delta_layer + "linear_attn.conv1d");
  const std::string norm = delta_layer + "input_layernorm";
  if (taps.empty() || !m.has(norm)) return false;
  const bool by_taps = taps.size() == 3 && taps[1] == 1 && taps[2] != 1;
  const double mean = m.mean(norm);
  return by_taps ? mean < 0.9 : mean < 0.02;
}

// The head has a layer of attention with the MLP, or the experts, of the model's last.
void read_mtp(Importer& m, Decoder& d) {
  m.config().mark_read("mtp_use_dedicated_embeddings");  // the file's tensors say it
  const int64_t count = m.integer("mtp_num_hidden_layers", {0, 64}, 1);
  if (!m.ok() || d.layers.empty()) return;
  if (m.drafts && count > 1)
    m.fail(m.config().refuse("mtp_num_hidden_layers",
                             fmt::format("is {}; heads of one layer are supported", count)));
  d.mtp = Mtp{.like = d.layers.size() - 1, .plain_attention = true};
}

// Attention and delta nets; layers' MLPs are those of the configuration.
Decoder read_hybrid(Importer& m, bool grouped) {
  Decoder d = read_decoder(m);
  const auto count = static_cast<int64_t>(d.layers.size());
  DeltaNet net{.key_heads = m.integer("linear_num_key_heads", {1, 1 << 16}),
               .value_heads = m.integer("linear_num_value_heads", {1, 1 << 16}),
               .key_dim = m.integer("linear_key_head_dim", {1, 1 << 16}),
               .value_dim = m.integer("linear_value_head_dim", {1, 1 << 16}),
               .taps = m.integer("linear_conv_kernel_dim", {2, 64}),
               .eps = d.norm.eps,
               .grouped = grouped,
               .tiled = m.flag("linear_heads_tiled", false)};
  if (m.ok() && net.value_heads % net.key_heads != 0)
    m.fail(m.config().refuse(
        "linear_num_value_heads",
        fmt::format("is {}, expected a multiple of {}, which is {}", net.value_heads,
                    m.config().name("linear_num_key_heads"), net.key_heads)));
  if (m.config().has("output_gate_type")) m.expect("output_gate_type", "swish");
  const int64_t interval = m.integer("full_attention_interval", {1, 1024}, 4);
  const bool bias = m.flag("attention_bias", false);
  std::vector<std::string> types;
  if (m.config().find("layer_types") != nullptr) types = m.texts("layer_types", count);
  if (!m.ok()) return d;
  std::string delta_layer;
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Layer& layer = d.layers[i];
    Attention& a = layer.attention;
    a.gate = Attention::Gate::in_query;
    a.qk_norms = Attention::HeadNorms::head;
    a.qkv_bias = a.output_bias = bias;
    const bool full = types.empty() ? (static_cast<int64_t>(i) + 1) % interval == 0
                                    : types[i] == "full_attention";
    if (!types.empty() && !full && types[i] != "linear_attention")
      m.fail(m.config().refuse("layer_types",
                               fmt::format("has {}, which is not supported; supported are "
                                           "\"full_attention\" and \"linear_attention\"",
                                           frontends::in_quotes(types[i]))));
    if (full) continue;
    if (delta_layer.empty()) delta_layer = fmt::format("model.layers.{}.", i);
    layer.mixer = [net, hidden = d.hidden](Importer& m, ir::ValueId x, const std::string& name) {
      return delta_net(m, net, x, name, hidden);
    };
  }
  d.norm.less_one = !delta_layer.empty() && norms_are_less_one(m, delta_layer);
  d.for_each_attention([&](Attention& a, int64_t) { a.qk_norm = d.norm; });
  read_mtp(m, d);
  return d;
}

void read_hybrid_experts(Importer& m, Decoder& d) {
  read_sparse_layers(m, d, read_qwen_experts(m));
}

absl::StatusOr<ir::Module> import_qwen3_5(Importer& m) { return build(m, read_hybrid(m, false)); }

absl::StatusOr<ir::Module> import_qwen3_5_moe(Importer& m) {
  m.derive("intermediate_size", m.integer("moe_intermediate_size"));
  Decoder d = read_hybrid(m, false);
  read_hybrid_experts(m, d);
  return build(m, d);
}

absl::StatusOr<ir::Module> import_qwen3_next(Importer& m) {
  Decoder d = read_hybrid(m, true);
  read_hybrid_experts(m, d);
  return build(m, d);
}

// Bonsai 2: Qwen3.5 whose matrices are rotated. The file is for a runtime of its own, whose version
// counts.
absl::StatusOr<ir::Module> import_bonsai2(Importer& m) {
  m.expect("schema_version", 2);
  m.expect("base_model_type", "qwen3_5");
  m.expect("gdn_activation_layout", "grouped");
  for (const char* field : {"hadamard_config", "requires_runtime", "tensor_namespace", "components",
                            "modules", "vision_config"})
    m.config().mark_read(field);
  if (m.ok() && !m.config().has("hadamard_config"))
    m.fail(m.config().refuse("hadamard_config", "is missing; it says how matrices are rotated"));
  return import_qwen3_5(m);
}

// Text models lie inside others; what sees images is left out.
const std::vector<Rename> kQwenTensors = {
    {"^model.language_model", "model"},     {"^language_model.model", "model"},
    {"^language_model.lm_head", "lm_head"}, {"^language_model", ""},
    {"mlp.switch_mlp", "mlp.experts"},      {"linear_attn.dt.bias", "linear_attn.dt_bias"}};

constexpr std::string_view kDense = R"({
    "vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32,
    "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e7,
    "partial_rotary_factor": 0.25, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4, "tie_word_embeddings": false})";

constexpr std::string_view kSparse = R"({
    "vocab_size": 248320, "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
    "num_key_value_heads": 2, "head_dim": 256, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e7,
    "partial_rotary_factor": 0.25, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4, "num_experts": 256, "num_experts_per_tok": 8,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "norm_topk_prob": true,
    "decoder_sparse_step": 1, "tie_word_embeddings": false})";

constexpr std::string_view kNext = R"({
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 48,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    "partial_rotary_factor": 0.25, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4, "num_experts": 512, "num_experts_per_tok": 10,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "norm_topk_prob": true,
    "decoder_sparse_step": 1, "tie_word_embeddings": false})";

Family named(std::string_view model_type, absl::StatusOr<ir::Module> (*import)(Importer&),
             std::string_view defaults) {
  return {.model_type = std::string(model_type),
          .import = import,
          .defaults = std::string(defaults),
          .tensors = kQwenTensors,
          .skipped = {"^model.visual", "^visual", "^vision_tower", "^model.vision_tower"},
          .drafting = {"^mtp", "^language_model.mtp"}};
}

}  // namespace

Family family_qwen3_5() { return named("qwen3_5", import_qwen3_5, kDense); }
Family family_qwen3_5_text() { return named("qwen3_5_text", import_qwen3_5, kDense); }
Family family_qwen3_5_moe() { return named("qwen3_5_moe", import_qwen3_5_moe, kSparse); }
Family family_qwen3_5_moe_text() { return named("qwen3_5_moe_text", import_qwen3_5_moe, kSparse); }
Family family_prism_hadamard_qwen35() {
  Family family = named("prism_hadamard_qwen35", import_bonsai2, kDense);
  family.skipped.emplace_back("signs");
  return family;
}
Family family_qwen3_next() { return named("qwen3_next", import_qwen3_next, kNext); }

}  // namespace sinter::models
