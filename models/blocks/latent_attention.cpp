#include "models/blocks/latent_attention.h"

#include <fmt/format.h>

#include <cmath>

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

ValueId latent_attention(Importer& m, const LatentAttention& a, ValueId x, const std::string& layer,
                         int64_t hidden) {
  ir::Builder& g = m.graph();
  const std::string module = layer + a.module;
  const int64_t head_dim = a.key_dim + a.shared_dim;
  ValueId query = -1;
  if (a.query_rank > 0) {
    query = m.linear(x, module + "q_a_proj", a.query_rank, hidden, a.bias);
    query = m.rms_norm(query, module + "q_a_layernorm", a.query_rank, a.eps);
    query = m.linear(query, module + "q_b_proj", a.heads * head_dim, a.query_rank, false);
  } else {
    query = m.linear(x, module + "q_proj", a.heads * head_dim, hidden, false);
  }
  const ValueId compressed =
      m.linear(x, module + "kv_a_proj_with_mqa", a.kv_rank + a.shared_dim, hidden, a.bias);
  if (!m.ok()) return -1;
  const auto part = [&](ValueId of, int64_t begin, int64_t size) {
    return g.add(Op::slice, {of}, {{"begin", begin}, {"end", begin + size}});
  };
  const ValueId latent =
      m.rms_norm(part(compressed, 0, a.kv_rank), module + "kv_a_layernorm", a.kv_rank, a.eps);
  // One matrix whose rows are those of a head's key and of its value, head by head, or a stack of
  // those of values, and one of those of keys, transposed: as GGUF files and MLX have them.
  const std::string joint = module + "kv_b_proj";
  const bool is_mlx = m.has(module + "embed_q");
  const std::string k = module + (is_mlx ? "embed_q" : "k_b_proj");
  const std::string v = module + (is_mlx ? "unembed_out" : "v_b_proj");
  ValueId keys_of = -1, values_of = -1;
  if (m.has(joint) || !m.has(k)) {
    keys_of = values_of =
        m.linear(latent, joint, a.heads * (a.key_dim + a.value_dim), a.kv_rank, false);
    for (const std::string& other : {k, v}) m.ignore(other);
  } else {
    const int64_t rows = a.heads * a.key_dim;
    keys_of = m.linear(latent, {k, rows, {.transposed = a.key_dim}}, k, rows, a.kv_rank, false);
    const ValueId w =
        m.reshaped(v, {a.heads, a.value_dim, a.kv_rank}, {a.heads * a.value_dim, a.kv_rank});
    if (!m.ok()) return -1;
    g.set_label(v);
    values_of = m.multiplied(latent, w);
  }
  const ValueId angles = a.rope ? m.angles(*a.rope) : -1;
  if (!m.ok()) return -1;

  g.set_label(layer + "attention");
  const auto rotated = [&](ValueId of) {
    if (!a.rope) return of;
    return g.add(Op::rope, {of, angles},
                 {{"style", std::string(a.rope->interleaved ? "interleaved" : "half")},
                  {"begin", a.key_dim}});
  };
  const bool together = keys_of == values_of;
  const auto heads = [&](ValueId of, int64_t dim) {
    return g.reshape(of, {Dim::of('T'), a.heads, together ? a.key_dim + a.value_dim : dim});
  };
  const ValueId own = heads(keys_of, a.key_dim);
  const ValueId value =
      together ? part(own, a.key_dim, a.value_dim) : heads(values_of, a.value_dim);
  const ValueId shared =
      g.reshape(part(compressed, a.kv_rank, a.shared_dim), {Dim::of('T'), 1, a.shared_dim});
  const ValueId key =
      rotated(g.add(Op::concat, {together ? part(own, 0, a.key_dim) : own, shared}));
  query = rotated(g.reshape(query, {Dim::of('T'), a.heads, head_dim}));

  const auto cache = [&](const char* what, int64_t dim) {
    return g.state(state_name(layer, what),
                   {ir::StateKind::paged, {ir::DType::f16, {a.heads, Dim::of('C'), dim}}});
  };
  const ValueId keys = cache("keys", head_dim);
  const ValueId values = cache("values", a.value_dim);
  g.add(Op::kv_append, {keys, key});
  g.add(Op::kv_append, {values, value});
  const ValueId mixed = g.add(Op::attention, {query, keys, values}, {{"scale", a.scale}});
  return m.linear(mixed, module + "o_proj", hidden, a.heads * a.value_dim, a.bias);
}

LatentAttention read_latent_attention(Importer& m) {
  constexpr frontends::IntRange kHead{1, 65536};
  LatentAttention a;
  a.heads = m.integer("num_attention_heads");
  a.query_rank = m.config().find("q_lora_rank") == nullptr || m.config().is_null("q_lora_rank")
                     ? 0
                     : m.integer("q_lora_rank");
  a.kv_rank = m.integer("kv_lora_rank");
  a.key_dim = m.integer("qk_nope_head_dim", kHead);
  a.shared_dim = m.integer("qk_rope_head_dim", kHead);
  a.value_dim = m.integer("v_head_dim", kHead);
  a.bias = m.flag("attention_bias", false);
  a.scale = 1 / std::sqrt(static_cast<double>(a.key_dim + a.shared_dim));
  const int64_t kv_heads = m.config().is_null("num_key_value_heads")
                               ? a.heads
                               : m.integer("num_key_value_heads", kSize, a.heads);
  if (m.ok() && kv_heads != a.heads)
    m.fail(m.config().refuse(
        "num_key_value_heads",
        fmt::format("is {}, but latent attention has a key for each of the {} heads", kv_heads,
                    a.heads)));
  return a;
}

void read_latent_rope(Importer& m, LatentAttention& a) {
  const int64_t max_positions = m.integer("max_position_embeddings");
  const bool interleaved = m.flag("rope_interleave", true);
  if (!m.ok()) return;
  Rope rope = m.rope({.head_dim = a.shared_dim, .max_positions = max_positions});
  if (!m.ok()) return;
  if (rope.dims() != a.shared_dim)
    m.fail(m.config().refuse("qk_rope_head_dim",
                             fmt::format("is {}, but RoPE rotates {} features; expected as many",
                                         a.shared_dim, rope.dims())));
  rope.interleaved = interleaved;
  a.scale *= rope.mscale * rope.mscale;
  a.rope = std::move(rope);
}

}  // namespace sinter::models
