#include "models/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "frontends/json_file.h"
#include "models/rope.h"

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

namespace {

absl::Status refuse_sliding_window(const Importer& m) {
  const auto* window = frontends::find_field(m.config(), "sliding_window");
  const auto* use = frontends::find_field(m.config(), "use_sliding_window");
  const auto* layers = frontends::find_field(m.config(), "layer_types");
  const bool declared = window != nullptr && (use == nullptr || *use == true) && layers == nullptr;
  bool listed = false;
  if (layers != nullptr && layers->is_array())
    for (const auto& type : *layers) listed |= type != "full_attention";
  if (!declared && !listed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("config.json: {} asks for sliding-window attention, which this architecture does "
                  "not support here",
                  listed ? "\"layer_types\"" : "\"sliding_window\""));
}

std::optional<Op> activation(std::string_view name) {
  if (name == "silu") return Op::silu;
  if (name == "gelu_pytorch_tanh") return Op::gelu;
  if (name == "relu2") return Op::relu2;
  return std::nullopt;
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
  const int64_t hidden = m.positive("hidden_size");
  const int64_t intermediate = m.positive("intermediate_size");
  const int64_t layers = m.positive("num_hidden_layers");
  if (layers > 4096)
    m.fail(absl::InvalidArgumentError(
        fmt::format("config.json: \"num_hidden_layers\" is {}, above 4096", layers)));
  const int64_t heads = m.positive("num_attention_heads");
  const int64_t kv_heads = m.positive_or("num_key_value_heads", heads);
  const int64_t head_dim = m.positive_or("head_dim", std::max<int64_t>(1, hidden / heads));
  const int64_t vocab = m.positive("vocab_size");
  const int64_t positions = m.positive_or("max_position_embeddings", 2048);
  const double eps = m.number_or("rms_norm_eps", 1e-6);
  const std::string act_name = m.text_or("hidden_act", std::string(traits.hidden_act));
  const bool tied = m.flag_or("tie_word_embeddings", !m.has("lm_head"));
  if (heads % kv_heads != 0)
    m.fail(absl::InvalidArgumentError(fmt::format(
        "config.json: \"num_attention_heads\" {} is not a multiple of \"num_key_value_heads\" {}",
        heads, kv_heads)));
  const std::optional<Op> act = activation(act_name);
  if (!act)
    m.fail(absl::InvalidArgumentError(
        fmt::format("config.json: \"hidden_act\" is \"{}\", which is not supported; known: silu, "
                    "gelu_pytorch_tanh, relu2",
                    act_name)));
  m.fail(refuse_sliding_window(m));
  const auto rope = read_rope(m.config(), head_dim, positions);
  m.fail(rope.status());
  if (!m.ok()) return m.finish(-1);

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
    q = g.add(Op::rope, {q, angles}, {{"style", "half"}});
    k = g.add(Op::rope, {k, angles}, {{"style", "half"}});
    const ir::TensorType cache{ir::DType::f16, {kv_heads, Dim::of('C'), head_dim}};
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
    ValueId gated = g.add(Op::mul, {g.add(*act, {gate}), up});
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
