#include "models/blocks/experts.h"

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

namespace {

struct Choice {
  ValueId experts = -1;  // [T, chosen]
  ValueId scores = -1;   // [T, chosen]
};

Choice choose(Importer& m, const Experts& e, ValueId x, const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const ValueId products = m.linear(x, layer + e.router, e.count, hidden, e.router_bias);
  const ValueId correction = e.correction.empty() ? -1 : m.flattened(layer + e.correction, e.count);
  if (!m.ok()) return {};
  ValueId scores = products;
  if (e.scores == Experts::Scores::softmax) scores = g.add(Op::softmax, {products});
  if (e.scores == Experts::Scores::sigmoid) scores = g.add(Op::sigmoid, {products});
  const ValueId ranked = correction < 0 ? scores : g.add(Op::add, {scores, correction});
  Choice choice;
  ir::Attributes limits = {{"k", e.chosen}};
  if (e.groups > 1) {
    limits["groups"] = e.groups;
    limits["groups_kept"] = e.groups_kept;
    limits["group_best"] = e.group_best;
  }
  choice.experts = g.add(Op::top_k, {ranked}, limits);
  choice.scores = e.scores == Experts::Scores::sparsemixer
                      ? g.add(Op::sparsemixer, {scores, choice.experts}, {{"margin", 2 * e.jitter}})
                      : g.add(Op::gather, {scores, choice.experts});
  if (e.scores == Experts::Scores::sigmoid_of_chosen)
    choice.scores = g.add(Op::sigmoid, {choice.scores});
  if (e.scores == Experts::Scores::softmax_of_chosen)
    choice.scores = g.add(Op::softmax, {choice.scores});
  if (e.normalized) choice.scores = g.add(Op::sum_norm, {choice.scores}, {{"eps", e.sum_eps}});
  if (!e.expert_scale.empty()) {
    const ValueId factors = m.weight(layer + e.expert_scale, {e.count});
    if (!m.ok()) return {};
    choice.scores = g.add(Op::mul, {choice.scores, g.add(Op::gather, {factors, choice.experts})});
  }
  choice.scores = m.affine(choice.scores, e.scale);
  return choice;
}

ValueId shared_mlp(Importer& m, const Experts& e, ValueId x, const std::string& layer,
                   int64_t hidden) {
  ir::Builder& g = m.graph();
  ValueId factor = -1;
  if (!e.shared_gate.empty()) {
    const ValueId open = m.linear(x, layer + e.shared_gate, 1, hidden, false);
    if (!m.ok()) return -1;
    factor = g.add(Op::expand, {g.add(Op::sigmoid, {open})}, {{"width", hidden}});
  }
  const ValueId y = mlp(m, *e.shared, x, layer, hidden);
  return factor < 0 || !m.ok() ? y : g.add(Op::mul, {y, factor});
}

}  // namespace

ValueId experts(Importer& m, const Experts& e, ValueId x, const std::string& layer, int64_t hidden,
                std::optional<ValueId> routed) {
  ir::Builder& g = m.graph();
  // First, so that the experts' sum has it to be added to.
  const ValueId shared = e.shared ? shared_mlp(m, e, x, layer, hidden) : -1;
  const Choice choice = choose(m, e, routed.value_or(x), layer, hidden);
  const std::string module = layer + e.experts;
  const auto product = [&](ValueId input, const std::string& name, int64_t out, int64_t in) {
    const ValueId w = m.stacked(module, name, e.count, out, in, e.transposed);
    if (!m.ok()) return ValueId{-1};
    g.set_label(module + "." + name);
    const ValueId y = g.add(Op::gather_matmul, {input, choice.experts, m.dense(w)});
    if (!e.bias) return y;
    const std::string bias_name = module + "." + name + ".bias";
    const ValueId bias = m.reshaped(bias_name, {e.count, out}, {e.count * out});
    if (!m.ok()) return ValueId{-1};
    return g.add(Op::add, {y, g.add(Op::gather_rows, {choice.experts, bias}, {{"width", out}})});
  };
  const int64_t inner = e.latent > 0 ? e.latent : hidden;
  ValueId input = x;
  if (e.latent > 0) input = m.linear(x, layer + e.to_latent, inner, hidden, e.latent_bias);
  if (e.scores_of_input && m.ok())
    input = g.add(Op::mul, {input, g.add(Op::expand, {choice.scores}, {{"width", inner}})});
  const ValueId gate = e.gated ? product(input, e.gate, e.width, inner) : -1;
  const ValueId up = product(input, e.up, e.width, inner);
  if (!m.ok()) return -1;
  const ValueId hidden_layer = e.glu     ? e.glu(m, gate, up)
                               : e.gated ? g.add(Op::mul, {e.act(m, gate), up})
                                         : e.act(m, up);
  const ValueId down = product(hidden_layer, e.down, inner, e.width);
  if (!m.ok()) return -1;
  ValueId out = e.scores_of_input ? g.reshape(down, {Dim::of('T'), inner})
                                  : g.add(Op::weighted_sum, {down, choice.scores});
  if (e.latent > 0) out = m.linear(out, layer + e.from_latent, hidden, inner, e.latent_bias);
  return shared < 0 || !m.ok() ? out : g.add(Op::add, {out, shared});
}

Experts read_experts(Importer& m) {
  Experts e;
  e.count = m.integer("num_experts", {1, 1 << 16});
  e.chosen = m.integer("num_experts_per_tok", {1, 1 << 16});
  e.width = m.integer("moe_intermediate_size");
  e.act = find_activation(m, "hidden_act");
  if (m.ok() && e.chosen > e.count)
    m.fail(m.config().refuse("num_experts_per_tok",
                             fmt::format("is {}, but there are {} experts", e.chosen, e.count)));
  return e;
}

Block feed_forward(const Experts& e, int64_t hidden) {
  return [e, hidden](Importer& m, ValueId x, const std::string& layer) {
    return experts(m, e, x, layer, hidden);
  };
}

Experts read_qwen_experts(Importer& m) {
  Experts e = read_experts(m);
  e.normalized = m.flag("norm_topk_prob");
  e.shared = Mlp{.width = m.integer("shared_expert_intermediate_size"),
                 .act = e.act,
                 .gate = "mlp.shared_expert.gate_proj",
                 .up = "mlp.shared_expert.up_proj",
                 .down = "mlp.shared_expert.down_proj"};
  e.shared_gate = "mlp.shared_expert_gate";
  return e;
}

namespace {

// n_group and topk_group. A group counts by so many of its experts.
void read_expert_groups(Importer& m, Experts& e, int64_t best) {
  const auto count = [&](const char* field) {
    return m.config().is_null(field) ? 1 : m.integer(field, {1, 1 << 16}, 1);
  };
  const int64_t groups = count("n_group");
  const int64_t kept = count("topk_group");
  if (!m.ok()) return;
  const auto refuse = [&](const char* field, const std::string& why) {
    m.fail(m.config().refuse(field, why));
  };
  if (kept > groups)
    return refuse("topk_group", fmt::format("is {}, but there are {} groups", kept, groups));
  if (kept == groups) return;  // all experts
  if (e.count % groups != 0 || e.count / groups < best)
    return refuse("n_group", fmt::format("is {}, expected groups of at least {} of the {} experts",
                                         groups, best, e.count));
  if (e.chosen > kept * (e.count / groups))
    return refuse("num_experts_per_tok", fmt::format("is {}, but {} groups have {} experts",
                                                     e.chosen, kept, kept * (e.count / groups)));
  e.groups = groups;
  e.groups_kept = kept;
  e.group_best = best;
}

// n_shared_experts: experts that every token goes through, as one MLP.
void read_shared_experts(Importer& m, Experts& e) {
  const int64_t shared =
      m.config().is_null("n_shared_experts") ? 0 : m.integer("n_shared_experts", {0, 1024}, 0);
  if (shared == 0) return;
  e.shared = Mlp{.width = shared * e.width,
                 .act = e.act,
                 .gate = "mlp.shared_experts.gate_proj",
                 .up = "mlp.shared_experts.up_proj",
                 .down = "mlp.shared_experts.down_proj"};
}

}  // namespace

Experts read_deepseek_experts(Importer& m) {
  Experts e = read_experts(m);
  e.scores = Experts::Scores::sigmoid;
  e.correction = "mlp.gate.e_score_correction_bias";
  m.expect("scoring_func", "sigmoid");
  m.expect("topk_method", "noaux_tc");
  read_expert_groups(m, e, 2);
  e.normalized = m.flag("norm_topk_prob");
  e.sum_eps = 1e-20;
  e.scale = m.number("routed_scaling_factor", {1e-6, 1e6});
  read_shared_experts(m, e);
  return e;
}

Experts read_deepseek_v2_experts(Importer& m) {
  Experts e = read_experts(m);
  m.expect("scoring_func", "softmax");
  const std::string method = m.text("topk_method");
  if (method == "group_limited_greedy") {
    read_expert_groups(m, e, 1);
  } else if (m.ok() && method != "greedy") {
    m.fail(m.config().refuse("topk_method",
                             fmt::format("is {}, which is not supported; supported are \"greedy\" "
                                         "and \"group_limited_greedy\"",
                                         frontends::in_quotes(method))));
  }
  for (const char* field : {"n_group", "topk_group"}) m.config().mark_read(field);
  // The model's own code then leaves routed_scaling_factor out, transformers does not divide.
  m.expect("norm_topk_prob", false);
  e.scale = m.number("routed_scaling_factor", {1e-6, 1e6});
  read_shared_experts(m, e);
  if (e.shared) e.shared->bias = m.flag("mlp_bias", false);
  return e;
}

}  // namespace sinter::models
