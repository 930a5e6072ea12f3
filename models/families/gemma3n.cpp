// Gemma 3n: four residual streams of which a layer computes on one and predicts and corrects the
// others (AltUp), a low-rank path beside attention (LAuReL), embeddings of their own for every
// layer, MLPs whose gates are mostly zero, and layers at the end that read the caches of earlier
// ones. Source: transformers models/gemma3n; AltUp is arXiv:2301.13310, LAuReL arXiv:2411.07501.
#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "models/blocks/decoder.h"
#include "models/blocks/per_layer_inputs.h"
#include "models/blocks/shared_caches.h"
#include "models/family.h"

namespace sinter::models {

using ir::Op;
using ir::ValueId;

namespace {

struct Gemma3n {
  Decoder decoder;
  PerLayerInputs inputs;
  int64_t streams = 0;
  size_t active = 0;  // the stream that layers compute on
  double clip = 0;    // of the weights of corrections; 0: none
  bool scales_correction = true;
  int64_t laurel_rank = 0;
};

// a - b
ValueId minus(Importer& m, ValueId a, ValueId b) {
  return m.ok() ? m.graph().add(Op::add, {a, m.affine(b, -1)}) : -1;
}
// a + b
ValueId plus(Importer& m, ValueId a, ValueId b) {
  return m.ok() ? m.graph().add(Op::add, {a, b}) : -1;
}
// x [T,width] times column j of `factors`.
ValueId times_column(Importer& m, ValueId x, ValueId factors, int64_t j, int64_t width) {
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  const ValueId column = g.add(Op::slice, {factors}, {{"begin", j}, {"end", j + 1}});
  return g.add(Op::mul, {x, g.add(Op::expand, {column}, {{"width", width}})});
}

// What a standard normal variable is below with this probability.
double normal_quantile(double probability) {
  double low = -40, high = 40;
  while (true) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return middle;
    const bool below = std::erfc(-middle / std::numbers::sqrt2) / 2 < probability;
    (below ? low : high) = middle;
  }
}

// Gates that are normally distributed: what exceeds the quantile of `sparsity`, of a row with the
// mean and deviation that it has.
Activation sparse(const Activation& act, double sparsity) {
  return [act, factor = normal_quantile(sparsity)](Importer& m, ValueId gate) {
    ir::Builder& g = m.graph();
    const ValueId off = minus(m, gate, g.add(Op::mean, {gate}));
    const ValueId variance = g.add(Op::mean, {g.add(Op::mul, {off, off})});
    const ValueId above = minus(m, off, m.affine(g.add(Op::sqrt, {variance}), factor));
    return act(m, g.add(Op::clamp, {above}, {{"min", 0.0}}));
  };
}

// [T,streams]: how much a row has of each.
ValueId modalities(Importer& m, const Gemma3n& n, ValueId x, const std::string& layer) {
  const int64_t hidden = n.decoder.hidden;
  x = apply(m, n.decoder.norm, x, layer + "altup.router_norm", hidden);
  x = m.affine(x, 1 / static_cast<double>(hidden));
  x = m.linear(x, layer + "altup.modality_router", n.streams, hidden, false);
  return m.ok() ? m.graph().add(Op::tanh, {x}) : -1;
}

// Every stream plus a mixture of all.
std::vector<ValueId> predict(Importer& m, const Gemma3n& n, const std::vector<ValueId>& streams,
                             const std::string& layer) {
  const ValueId mixture =
      m.linear(modalities(m, n, streams[n.active], layer), layer + "altup.prediction_coefs",
               n.streams * n.streams, n.streams, false);
  if (!m.ok()) return streams;
  m.graph().set_label(layer + "altup.predict");
  std::vector<ValueId> predicted;
  for (int64_t to = 0; to < n.streams; ++to) {
    ValueId y = streams[static_cast<size_t>(to)];
    for (int64_t from = 0; from < n.streams; ++from)
      y = plus(m, y,
               times_column(m, streams[static_cast<size_t>(from)], mixture, to * n.streams + from,
                            n.decoder.hidden));
    predicted.push_back(y);
  }
  return predicted;
}

// Every prediction plus a share of what the layer made of the active one.
std::vector<ValueId> correct(Importer& m, const Gemma3n& n, const std::vector<ValueId>& predicted,
                             ValueId activated, const std::string& layer) {
  const ValueId of = modalities(m, n, activated, layer);
  const std::string name = layer + "altup.correction_coefs";
  const std::vector<int64_t> shape = {n.streams, n.streams};
  const ValueId weight =
      n.clip == 0 ? m.weight(name, shape)
                  : m.computed(name, shape, fmt::format("clipped to {}", n.clip),
                               [clip = n.clip](double w) { return std::clamp(w, -clip, clip); });
  if (!m.ok()) return predicted;
  m.graph().set_label(name);
  const ValueId shares = m.affine(m.multiplied(of, weight), 1, 1);
  m.graph().set_label(layer + "altup.correct");
  const ValueId innovation = minus(m, activated, predicted[n.active]);
  std::vector<ValueId> corrected;
  for (int64_t i = 0; i < n.streams; ++i)
    corrected.push_back(plus(m, predicted[static_cast<size_t>(i)],
                             times_column(m, innovation, shares, i, n.decoder.hidden)));
  return corrected;
}

std::vector<ValueId> layer_of_streams(Importer& m, const Gemma3n& n, size_t index,
                                      const std::vector<ValueId>& streams, ValueId inputs) {
  const Decoder& d = n.decoder;
  const std::string layer = layer_name(index);
  const auto norm = [&](ValueId x, const char* name) {
    return apply(m, d.norm, x, layer + name, d.hidden);
  };
  const std::vector<ValueId> predicted = predict(m, n, streams, layer);
  const ValueId x = norm(predicted[n.active], "input_layernorm");
  ValueId low_rank = m.linear(x, layer + "laurel.linear_left", n.laurel_rank, d.hidden, false);
  low_rank = m.linear(low_rank, layer + "laurel.linear_right", d.hidden, n.laurel_rank, false);
  const ValueId laurel = plus(m, x, norm(low_rank, "laurel.post_laurel_norm"));
  const ValueId mixed =
      norm(attention(m, d.layers[index].attention, x, layer, d.hidden), "post_attention_layernorm");
  const ValueId h = m.affine(plus(m, plus(m, predicted[n.active], mixed), laurel), std::sqrt(0.5));
  const ValueId fed =
      mlp(m, d.layers[index].mlp, norm(h, "pre_feedforward_layernorm"), layer, d.hidden);
  const ValueId activated = plus(m, h, norm(fed, "post_feedforward_layernorm"));

  std::vector<ValueId> corrected = correct(m, n, predicted, activated, layer);
  ValueId first = corrected[n.active];
  if (n.scales_correction) {
    const ValueId scale = m.weight(layer + "altup.correct_output_scale", {d.hidden});
    first = m.ok() ? m.graph().add(Op::mul, {first, scale}) : -1;
  }
  const ValueId input = per_layer_input(m, n.inputs, first, inputs, index, layer, d.hidden);
  for (size_t i = 1; i < corrected.size(); ++i) corrected[i] = plus(m, corrected[i], input);
  return corrected;
}

// x with the root mean square that `like` has.
ValueId of_size(Importer& m, ValueId x, ValueId like) {
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  const auto mean_square = [&](ValueId y) { return g.add(Op::mean, {g.add(Op::mul, {y, y})}); };
  const ValueId scaled = g.add(Op::mul, {x, g.add(Op::sqrt, {mean_square(like)})});
  const ValueId size = g.add(Op::clamp, {mean_square(x)}, {{"min", 1e-5}});
  return g.add(Op::div, {scaled, g.add(Op::sqrt, {size})});
}

void read_layers(Importer& m, Decoder& d, int64_t count) {
  if (m.config().find("layer_types") == nullptr) {
    nlohmann::json types;
    for (int64_t i = 0; i < count; ++i)
      types.push_back((i + 1) % 5 == 0 ? "full_attention" : "sliding_attention");
    m.derive("layer_types", types);
  }
  read_windows(m, d, false);
  const std::vector<std::string> types = m.texts("layer_types", count);
  const bool bias = m.flag("attention_bias", false);
  const Rope local = m.rope({.head_dim = d.layers[0].attention.head_dim,
                             .max_positions = d.max_positions,
                             .layer_type = "sliding_attention",
                             .theta = "rope_local_base_freq",
                             .scaled = false});
  if (!m.ok()) return;
  d.for_each_attention([&](Attention& a, int64_t i) {
    a.scale = 1;
    a.qk_norms = Attention::HeadNorms::head;
    a.v_norm = Norm{.eps = d.norm.eps, .has_weight = false};
    a.qkv_bias = a.output_bias = bias;
    if (types[static_cast<size_t>(i)] == "sliding_attention") a.rope = local;
  });
  read_shared_caches(m, d, types);
}

void read_mlps(Importer& m, Decoder& d, const std::vector<int64_t>& widths) {
  const auto count = static_cast<int64_t>(d.layers.size());
  std::vector<double> sparsity(d.layers.size(), 0.0);
  if (m.config().find("activation_sparsity_pattern") != nullptr) {
    sparsity = m.numbers("activation_sparsity_pattern", count);
  } else if (count > 10) {
    std::fill_n(sparsity.begin(), 10, 0.95);
  }
  if (!m.ok()) return;
  for (size_t i = 0; i < d.layers.size(); ++i) {
    Mlp& p = d.layers[i].mlp;
    p.width = widths[i];
    if (!(sparsity[i] >= 0 && sparsity[i] < 1))
      m.fail(m.config().refuse(
          "activation_sparsity_pattern",
          fmt::format("has {}, expected numbers from 0 to below 1", sparsity[i])));
    if (m.ok() && sparsity[i] > 0) p.act = sparse(p.act, sparsity[i]);
  }
}

Gemma3n read_gemma3n(Importer& m) {
  Gemma3n n;
  const int64_t count = m.integer("num_hidden_layers", {1, 1024});
  if (!m.ok()) return n;
  const std::vector<int64_t> widths = m.integers("intermediate_sizes", count, kSize);
  if (!m.ok()) return n;
  m.derive("intermediate_size", widths[0]);
  Decoder& d = n.decoder = read_decoder(m);
  if (!m.ok()) return n;
  d.embedding_scale = std::sqrt(static_cast<double>(d.hidden));
  d.logit_cap = m.config().is_null("final_logit_softcapping")
                    ? 0
                    : m.number("final_logit_softcapping", {0, 1e6});
  read_layers(m, d, count);
  read_mlps(m, d, widths);
  n.inputs = read_per_layer_inputs(m, d.norm);
  if (m.ok() && n.inputs.width == 0)
    m.fail(m.config().refuse("hidden_size_per_layer_input", "is 0, expected 1 or more"));
  n.streams = m.integer("altup_num_inputs", {1, 64});
  n.active = static_cast<size_t>(m.integer("altup_active_idx", {0, n.streams - 1}));
  n.clip = m.config().is_null("altup_coef_clip") ? 0 : m.number("altup_coef_clip", {1e-9, 1e9});
  n.scales_correction = m.flag("altup_correct_scale");
  n.laurel_rank = m.integer("laurel_rank");
  return n;
}

}  // namespace

static absl::StatusOr<ir::Module> import_gemma3n(Importer& m) {
  const Gemma3n n = read_gemma3n(m);
  const Decoder& d = n.decoder;
  const ValueId h = embedding(m, d);
  if (!m.ok()) return m.finish(-1);
  const ValueId inputs = per_layer_inputs(m, n.inputs, h, d.hidden);
  const auto projection = [&](const char* which, int64_t stream, ValueId x) {
    return m.linear(x, fmt::format("model.altup_{}.{}", which, stream - 1), d.hidden, d.hidden,
                    false);
  };
  std::vector<ValueId> streams = {h};
  for (int64_t i = 1; i < n.streams; ++i)
    streams.push_back(of_size(m, projection("projections", i, h), h));
  for (size_t i = 0; i < d.layers.size() && m.ok(); ++i)
    streams = layer_of_streams(m, n, i, streams, inputs);
  if (!m.ok()) return m.finish(-1);

  m.graph().set_label("lm_head");
  for (ValueId& stream : streams) stream = m.graph().add(Op::last_rows, {stream});
  ValueId sum = streams[0];
  for (int64_t i = 1; i < n.streams; ++i)
    sum = plus(m, sum,
               of_size(m, projection("unembed_projections", i, streams[static_cast<size_t>(i)]),
                       streams[0]));
  return head(m, d, m.affine(sum, 1 / static_cast<double>(n.streams)));
}

Family family_gemma3n_text() {
  return {
      .model_type = "gemma3n_text",
      .import = import_gemma3n,
      .defaults = R"({
    "vocab_size": 262400, "vocab_size_per_layer_input": 262144, "hidden_size": 2048,
    "hidden_size_per_layer_input": 256, "intermediate_sizes": 16384, "num_hidden_layers": 35,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window": 512,
    "final_logit_softcapping": 30.0, "altup_active_idx": 0, "altup_coef_clip": 120.0,
    "altup_correct_scale": true, "altup_num_inputs": 4, "num_kv_shared_layers": 15,
    "laurel_rank": 64, "tie_word_embeddings": true})",
      .fields = {{"hidden_activation", "hidden_act"}, {"intermediate_size", "intermediate_sizes"}}};
}

// The text model of the multimodal checkpoints.
Family family_gemma3n() {
  Family family = family_gemma3n_text();
  family.model_type = "gemma3n";
  family.tensors = {{"^language_model.model", "model"},
                    {"^language_model.lm_head", "lm_head"},
                    {"^model.language_model", "model"}};
  for (const char* tower : {"vision_tower", "audio_tower", "embed_vision", "embed_audio"})
    for (const char* root : {"^", "^model."}) family.skipped.push_back(std::string(root) + tower);
  return family;
}

}  // namespace sinter::models
