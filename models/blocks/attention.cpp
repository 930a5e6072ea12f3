#include "models/blocks/attention.h"

#include <array>
#include <utility>

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

namespace {

// Which rows of the stored matrix a projection has.
PartOf rows_of(const Attention& a, const std::string& packed, int which) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t d = a.head_dim;
  const std::array<int64_t, 3> heads = {a.heads, a.kv_heads, a.kv_heads};
  const int64_t whole = (a.heads + 2 * a.kv_heads) * d;
  const auto at = static_cast<size_t>(which);
  switch (a.packing) {
    case Attention::Packing::blocks: {
      const std::array<int64_t, 3> first = {0, a.heads * d, (a.heads + a.kv_heads) * d};
      return {packed, whole, {.run = heads[at] * d, .stored_run = whole, .first = first[at]}};
    }
    case Attention::Packing::kv_heads: {
      const std::array<int64_t, 3> run = {group * d, d, d};
      const std::array<int64_t, 3> first = {0, group * d, (group + 1) * d};
      return {packed, whole, {.run = run[at], .stored_run = (group + 2) * d, .first = first[at]}};
    }
    default:  // by heads
      return {packed, whole, {.run = d, .stored_run = 3 * d, .first = which * d}};
  }
}

ValueId clipped(Importer& m, const Attention& a, ValueId x) {
  if (a.clip == 0 || !m.ok()) return x;
  return m.graph().add(Op::clamp, {x}, {{"min", -a.clip}, {"max", a.clip}});
}

// Norm and rotation of the heads of q or k, [T, heads, head_dim].
class Heads {
 public:
  Heads(Importer& m, const Attention& a, const std::string& layer) : m_(m), a_(a), layer_(layer) {}

  ValueId of(ValueId x, int64_t heads, const std::string& norm, const std::optional<Rope>& rope) {
    ir::Builder& g = m_.graph();
    const int64_t width = heads * a_.head_dim;
    if (a_.qk_norms == Attention::HeadNorms::row)
      x = apply(m_, a_.qk_norm, x, layer_ + norm, width);
    if (a_.clip_after_norm) x = clipped(m_, a_, x);
    g.set_label(layer_ + "attention");
    x = g.reshape(x, {Dim::of('T'), heads, a_.head_dim});
    if (!a_.norm_after_rope) x = normed(x, heads, norm);
    if (rope) {
      const ValueId angles = m_.angles(*rope);
      g.set_label(layer_ + "attention");
      x = g.add(Op::rope, {x, angles}, {{"style", rope->interleaved ? "interleaved" : "half"}});
    }
    if (a_.norm_after_rope) x = normed(x, heads, norm);
    g.set_label(layer_ + "attention");
    return x;
  }

 private:
  ValueId normed(ValueId x, int64_t heads, const std::string& norm) {
    if (a_.qk_norms == Attention::HeadNorms::head)
      return apply(m_, a_.qk_norm, x, layer_ + norm, a_.head_dim);
    if (a_.qk_norms != Attention::HeadNorms::each_head) return x;
    // Weights [heads, head_dim]: the norm of a head, then its own weights.
    Norm plain = a_.qk_norm;
    plain.has_weight = false;
    x = apply(m_, plain, x, layer_ + norm, a_.head_dim);
    const int64_t width = heads * a_.head_dim;
    const ValueId w = m_.has(layer_ + norm)
                          ? m_.reshaped(layer_ + norm, {heads, a_.head_dim}, {width})
                          : m_.joined(layer_ + norm, heads, a_.head_dim);
    if (!m_.ok()) return -1;
    ir::Builder& g = m_.graph();
    x = g.add(Op::mul, {g.reshape(x, {Dim::of('T'), width}), w});
    return g.reshape(x, {Dim::of('T'), heads, a_.head_dim});
  }

  Importer& m_;
  const Attention& a_;
  const std::string& layer_;
};

}  // namespace

ValueId attention(Importer& m, const Attention& a, ValueId x, const std::string& layer,
                  int64_t hidden) {
  ir::Builder& g = m.graph();
  const int64_t d = a.head_dim;
  const int64_t q_width = a.heads * d;
  const auto project = [&](const std::string& module, int which, int64_t heads) {
    PartOf part{layer + module, heads * d, {}};
    if (a.packing != Attention::Packing::apart) part = rows_of(a, layer + a.qkv, which);
    if (a.transposed) part.places.transposed = part.whole;
    const ValueId y = m.linear(x, part, layer + module, heads * d, hidden, a.qkv_bias);
    return which == 2 || !a.clip_after_norm ? clipped(m, a, y) : y;
  };
  ValueId gate = -1;
  ValueId q = -1;
  if (a.gate == Attention::Gate::in_query) {
    const std::string both = layer + a.q;
    const auto half = [&](int64_t which, const std::string& label) {
      return m.linear(x, {both, 2 * q_width, {.run = d, .stored_run = 2 * d, .first = which * d}},
                      label, q_width, hidden, a.qkv_bias);
    };
    q = half(0, both);
    gate = half(1, both + ".gate");
  } else {
    q = project(a.q, 0, a.heads);
  }
  const bool caches = a.cached_by.empty();
  const ValueId k = caches ? project(a.k, 1, a.kv_heads) : -1;
  const ValueId v = a.values_are_keys || !caches ? k : project(a.v, 2, a.kv_heads);
  if (a.gate == Attention::Gate::apart)
    gate = m.linear(x, layer + a.gate_proj, q_width, hidden, false);
  if (!m.ok()) return -1;

  Heads heads(m, a, layer);
  const ValueId query = heads.of(q, a.heads, a.q_norm, a.query_rope ? a.query_rope : a.rope);
  const std::string& owner = caches ? layer : a.cached_by;
  const ir::StateType cache{
      a.window > 0 ? ir::StateKind::ring : ir::StateKind::paged,
      {ir::DType::f16, {a.kv_heads, a.window > 0 ? Dim(a.window) : Dim::of('C'), d}}};
  ValueId keys = g.module().find_symbol(state_name(owner, "keys"));
  ValueId values = g.module().find_symbol(state_name(owner, "values"));
  if (caches) {
    const ValueId key = heads.of(k, a.kv_heads, a.k_norm, a.rope);
    ValueId value = g.reshape(v, {Dim::of('T'), a.kv_heads, d});
    if (a.v_norm) value = apply(m, *a.v_norm, value, layer + a.v_norm_module, d);
    g.set_label(layer + "attention");
    keys = g.state(state_name(owner, "keys"), cache);
    values = g.state(state_name(owner, "values"), cache);
    g.add(Op::kv_append, {keys, key});
    g.add(Op::kv_append, {values, value});
  }
  ir::Attributes attributes = {{"scale", a.scale}};
  if (a.window > 0) attributes["window"] = a.window;
  if (a.chunk > 0) attributes["chunk"] = a.chunk;
  if (a.cap > 0) attributes["softcap"] = a.cap;
  std::vector<ValueId> operands = {query, keys, values};
  if (a.sinks) operands.push_back(m.weight(layer + "self_attn.sinks", {a.heads}));
  if (!m.ok()) return -1;
  ValueId mixed = g.add(Op::attention, operands, attributes);
  if (gate >= 0) mixed = g.add(Op::mul, {mixed, g.add(Op::sigmoid, {gate})});
  if (a.output_norm)
    mixed = apply_first(m, *a.output_norm, mixed, layer,
                        {"self_attn.attn_sub_norm", "self_attn.inner_attn_ln"}, q_width);
  return m.linear(mixed, {layer + a.o, hidden, {.transposed = a.transposed ? hidden : 0}},
                  layer + a.o, hidden, q_width, a.output_bias);
}

}  // namespace sinter::models
