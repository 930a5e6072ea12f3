#include "models/decoder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "models/rope.h"

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

namespace {

// Attention that sees only a window of the context. A window that holds all of the context is none.
absl::Status refuse_windows(const Config& config, const DecoderTraits& traits, int64_t layers,
                            int64_t positions) {
  const auto* types = config.find("layer_types");
  const auto window = config.integer("sliding_window", frontends::kNotNegative, 0);
  const auto use = config.flag("use_sliding_window", false);
  const auto first = config.integer("max_window_layers", frontends::kNotNegative, 0);
  if (types != nullptr) {
    if (!types->is_array())
      return config.refuse("layer_types", fmt::format("is {}, expected an array of strings",
                                                      frontends::describe(*types)));
    for (const auto& type : *types) {
      if (type == "full_attention") continue;
      const bool whole = type == "sliding_attention" && window.ok() && *window >= positions;
      if (!whole)
        return config.refuse("layer_types",
                             fmt::format("has {}, which is not supported; supported is "
                                         "\"full_attention\"",
                                         frontends::describe(type)));
    }
    return absl::OkStatus();
  }
  // The other families have the fields without a meaning.
  if (!traits.windows) return absl::OkStatus();
  for (const absl::Status& status : {window.status(), use.status(), first.status()})
    if (!status.ok()) return status;
  const bool narrow = !config.is_null("sliding_window") && *window < positions;
  if (!*use || !narrow || *first >= layers) return absl::OkStatus();
  return config.refuse("use_sliding_window",
                       "is true, but attention in a sliding window is not supported");
}

struct Activation {
  std::string_view name;
  Op op;
};
// As transformers names them.
constexpr std::array<Activation, 9> kActivations = {{
    {"silu", Op::silu},
    {"swish", Op::silu},
    {"relu2", Op::relu2},
    {"gelu", Op::gelu_erf},
    {"gelu_python", Op::gelu_erf},
    {"gelu_pytorch_tanh", Op::gelu},
    {"gelu_new", Op::gelu},
    {"gelu_fast", Op::gelu},
    {"gelu_accurate", Op::gelu},
}};

const Activation* find_activation(std::string_view name) {
  for (const Activation& row : kActivations)
    if (row.name == name) return &row;
  return nullptr;
}

// The norm under the first of its names that the checkpoint has; without one, x itself.
ValueId sub_norm(Importer& m, ValueId x, std::initializer_list<std::string> names, int64_t size,
                 double eps) {
  for (const std::string& name : names)
    if (m.has(name)) return m.rms_norm(x, name, size, eps);
  return x;
}

}  // namespace

absl::StatusOr<ir::Module> import_decoder(Importer& m, const DecoderTraits& traits) {
  const Config& config = m.config();
  const int64_t hidden = m.integer("hidden_size");
  const int64_t intermediate = m.integer("intermediate_size");
  const int64_t layers = m.integer("num_hidden_layers", {1, 1024});
  const int64_t heads = m.integer("num_attention_heads");
  // Null means what the older configurations say by leaving the field out.
  const int64_t kv_heads = config.is_null("num_key_value_heads")
                               ? heads
                               : m.integer("num_key_value_heads", kSize, heads);
  const int64_t head_dim =
      m.integer("head_dim", {1, 65536}, std::clamp<int64_t>(hidden / heads, 1, 65536));
  const int64_t vocab = m.integer("vocab_size");
  const int64_t positions = m.integer("max_position_embeddings");
  const double eps = m.number("rms_norm_eps", {0.0, 1.0});
  const std::string act_name = m.text("hidden_act");
  const bool tied = m.flag("tie_word_embeddings", !m.has("lm_head"));
  if (!m.ok()) return m.finish(-1);
  if (heads % kv_heads != 0)
    m.fail(config.refuse("num_attention_heads",
                         fmt::format("is {}, expected a multiple of {}, which is {}", heads,
                                     config.name("num_key_value_heads"), kv_heads)));
  const Activation* act = find_activation(act_name);
  if (act == nullptr) {
    std::vector<std::string_view> known;
    for (const Activation& row : kActivations) known.push_back(row.name);
    m.fail(config.refuse("hidden_act",
                         fmt::format("is {}, which is not supported; known: {}",
                                     frontends::in_quotes(act_name), fmt::join(known, ", "))));
  }
  m.fail(refuse_windows(config, traits, layers, positions));
  const auto rope = read_rope(config, head_dim, positions);
  m.fail(rope.status());
  if (!m.ok()) return m.finish(-1);
  m.max_positions = rope->max_positions;
  const ir::Attributes rope_style = {{"style", rope->interleaved ? "interleaved" : "half"}};

  ir::Builder& g = m.graph();
  const ValueId tokens = g.param("tokens", {ir::DType::i32, {Dim::of('T')}});

  g.set_label("rope");
  const ValueId inv_freq =
      g.weight("rope.inv_freq", {{static_cast<int64_t>(rope->inv_freq.size())}, {}},
               {.sources = {}, .constant = rope->inv_freq});
  const ValueId angles = g.add(Op::rope_table, {inv_freq, tokens}, {{"scale", rope->scale}});

  const ValueId table = m.weight("model.embed_tokens", {vocab, hidden});
  if (!m.ok()) return m.finish(-1);
  g.set_label("model.embed_tokens");
  ValueId h = g.add(Op::embed, {tokens, m.dense(table)});

  for (int64_t i = 0; i < layers && m.ok(); ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    const std::string attn = layer + "self_attn.";
    const std::string mlp = layer + "mlp.";

    const ValueId a = m.rms_norm(h, layer + "input_layernorm", hidden, eps);
    ValueId q = m.linear(a, attn + "q_proj", heads * head_dim, hidden, traits.attention_bias);
    ValueId k = m.linear(a, attn + "k_proj", kv_heads * head_dim, hidden, traits.attention_bias);
    ValueId v = m.linear(a, attn + "v_proj", kv_heads * head_dim, hidden, traits.attention_bias);
    g.set_label(attn + "attention");
    q = g.reshape(q, {Dim::of('T'), heads, head_dim});
    k = g.reshape(k, {Dim::of('T'), kv_heads, head_dim});
    v = g.reshape(v, {Dim::of('T'), kv_heads, head_dim});
    if (traits.qk_norm) {
      q = m.rms_norm(q, attn + "q_norm", head_dim, eps);
      k = m.rms_norm(k, attn + "k_norm", head_dim, eps);
      g.set_label(attn + "attention");
    }
    q = g.add(Op::rope, {q, angles}, rope_style);
    k = g.add(Op::rope, {k, angles}, rope_style);
    const ir::StateType cache{ir::StateKind::paged,
                              {ir::DType::f16, {kv_heads, Dim::of('C'), head_dim}}};
    const ValueId keys = g.state(fmt::format("layers.{}.keys", i), cache);
    const ValueId values = g.state(fmt::format("layers.{}.values", i), cache);
    g.add(Op::kv_append, {keys, k});
    g.add(Op::kv_append, {values, v});
    ValueId mixed = g.add(Op::attention, {q, keys, values},
                          {{"scale", 1.0 / std::sqrt(static_cast<double>(head_dim))}});
    if (traits.sub_norms) {
      mixed = sub_norm(m, mixed, {attn + "attn_sub_norm", attn + "inner_attn_ln"}, heads * head_dim,
                       eps);
    }
    const ValueId o =
        m.linear(mixed, attn + "o_proj", hidden, heads * head_dim, traits.attention_bias);
    h = g.add(Op::add, {h, o});

    const ValueId b = m.rms_norm(h, layer + "post_attention_layernorm", hidden, eps);
    const ValueId gate = m.linear(b, mlp + "gate_proj", intermediate, hidden, traits.mlp_bias);
    const ValueId up = m.linear(b, mlp + "up_proj", intermediate, hidden, traits.mlp_bias);
    g.set_label(mlp + "act");
    ValueId gated = g.add(Op::mul, {g.add(act->op, {gate}), up});
    if (traits.sub_norms) {
      gated = sub_norm(m, gated, {mlp + "ffn_sub_norm", mlp + "ffn_layernorm"}, intermediate, eps);
    }
    const ValueId down = m.linear(gated, mlp + "down_proj", hidden, intermediate, traits.mlp_bias);
    h = g.add(Op::add, {h, down});
  }

  g.set_label("lm_head");
  h = g.add(Op::last_rows, {h});
  h = m.rms_norm(h, "model.norm", hidden, eps);
  if (tied) m.ignore("lm_head");  // some checkpoints store the tied matrix twice
  const ValueId head = tied ? table : m.weight("lm_head", {vocab, hidden});
  if (!m.ok()) return m.finish(-1);
  g.set_label("lm_head");
  return m.finish(g.add(Op::matmul, {h, m.dense(head)}));
}

}  // namespace sinter::models
