#include "models/blocks/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/blocks/flags.h"

namespace sinter::models {

using ir::Op;
using ir::ValueId;

void Decoder::for_each_attention(const std::function<void(Attention&, int64_t)>& change) {
  for (size_t i = 0; i < layers.size(); ++i) change(layers[i].attention, static_cast<int64_t>(i));
}

void Decoder::for_each_mlp(const std::function<void(Mlp&)>& change) {
  for (Layer& layer : layers) change(layer.mlp);
}

Decoder read_stack(Importer& m) {
  Decoder d;
  d.hidden = m.integer("hidden_size");
  d.vocab = m.integer("vocab_size");
  d.max_positions = m.max_positions = m.integer("max_position_embeddings");
  d.norm.eps = m.number("rms_norm_eps", {0.0, 1.0});
  d.tied = m.flag("tie_word_embeddings", !m.has("lm_head"));
  const int64_t count = m.integer("num_hidden_layers", {1, 1024});
  d.layers.resize(static_cast<size_t>(m.ok() ? count : 0));
  return d;
}

Decoder read_decoder(Importer& m) {
  const Config& config = m.config();
  Decoder d = read_stack(m);
  Layer layer;
  Attention& a = layer.attention;
  a.heads = m.integer("num_attention_heads");
  // Null means what the older configurations say by leaving the field out.
  a.kv_heads = config.is_null("num_key_value_heads")
                   ? a.heads
                   : m.integer("num_key_value_heads", kSize, a.heads);
  a.head_dim = m.integer("head_dim", {1, 65536}, std::clamp<int64_t>(d.hidden / a.heads, 1, 65536));
  if (m.ok() && a.heads % a.kv_heads != 0)
    m.fail(config.refuse("num_attention_heads",
                         fmt::format("is {}, expected a multiple of {}, which is {}", a.heads,
                                     config.name("num_key_value_heads"), a.kv_heads)));
  a.scale = 1.0 / std::sqrt(static_cast<double>(a.head_dim));
  layer.mlp.width = m.integer("intermediate_size");
  layer.mlp.act = find_activation(m, "hidden_act");
  if (!m.ok()) return d;
  a.rope = m.rope({.head_dim = a.head_dim, .max_positions = d.max_positions});
  a.qk_norm = d.norm;
  m.max_positions = a.rope->max_positions;
  d.layers.assign(m.ok() ? d.layers.size() : 0, layer);
  return d;
}

void read_windows(Importer& m, Decoder& d, bool by_default) {
  const auto count = static_cast<int64_t>(d.layers.size());
  const int64_t width =
      m.config().is_null("sliding_window") ? 0 : m.integer("sliding_window", {0, kSize.max}, 0);
  const int64_t window = width < m.max_positions ? width : 0;
  if (m.config().find("layer_types") == nullptr) {
    if (by_default) d.for_each_attention([&](Attention& a, int64_t) { a.window = window; });
    return;
  }
  const std::vector<std::string> types = m.texts("layer_types", count);
  if (!m.ok()) return;
  d.for_each_attention([&](Attention& a, int64_t i) {
    const std::string& type = types[static_cast<size_t>(i)];
    if (type == "sliding_attention" && width == 0)
      m.fail(m.config().refuse("sliding_window",
                               fmt::format("is missing, but {} has \"sliding_attention\"",
                                           m.config().name("layer_types"))));
    if (type == "sliding_attention") {
      a.window = window;
    } else if (type != "full_attention") {
      m.fail(m.config().refuse("layer_types",
                               fmt::format("has {}, which is not supported; supported are "
                                           "\"full_attention\" and \"sliding_attention\"",
                                           frontends::in_quotes(type))));
    }
  });
}

void read_late_windows(Importer& m, Decoder& d) {
  if (m.config().find("layer_types") != nullptr) return read_windows(m, d, false);
  const bool use = m.flag("use_sliding_window", false);
  const int64_t first = m.integer("max_window_layers", {0, kSize.max}, 0);
  read_windows(m, d, use);
  d.for_each_attention([&](Attention& a, int64_t i) {
    if (i < first) a.window = 0;
  });
}

namespace {

// A layer's blocks and what is added to the residual stream.
class LayerBuilder {
 public:
  LayerBuilder(Importer& m, const Decoder& d, const Layer& layer, std::string name)
      : m_(m), d_(d), layer_(layer), name_(std::move(name)) {}

  ValueId build(ValueId h) {
    const LayerNorms& names = d_.norms;
    if (d_.parallel) {
      const ValueId x = norm(h, names.before_mixer);
      const ValueId y = names.before_feed_forward.empty() ? x : norm(h, names.before_feed_forward);
      const ValueId mixed = norm(mix(x), names.after_mixer);
      const ValueId fed = norm(feed(y), names.after_feed_forward);
      return residual(residual(h, mixed, layer_.mixer_sum), fed, layer_.feed_forward_sum);
    }
    if (layer_.has_mixer) {
      const ValueId x = norm(h, names.before_mixer);
      h = residual(d_.normed_residual ? x : h, norm(mix(x), names.after_mixer), layer_.mixer_sum);
    }
    if (layer_.has_feed_forward) {
      const ValueId x = norm(h, names.before_feed_forward);
      h = residual(d_.normed_residual ? x : h, norm(feed(x), names.after_feed_forward),
                   layer_.feed_forward_sum);
    }
    return h;
  }

 private:
  ValueId norm(ValueId x, const std::string& name) {
    return name.empty() ? x : apply(m_, d_.norm, x, name_ + name, d_.hidden);
  }
  ValueId mix(ValueId x) {
    return layer_.mixer ? layer_.mixer(m_, x, name_)
                        : attention(m_, layer_.attention, x, name_, d_.hidden);
  }
  ValueId feed(ValueId x) {
    return layer_.feed_forward ? layer_.feed_forward(m_, x, name_)
                               : mlp(m_, layer_.mlp, x, name_, d_.hidden);
  }
  ValueId residual(ValueId h, ValueId x, const Residual& sum) {
    if (!m_.ok()) return -1;
    h = m_.affine(h, sum.kept);
    return m_.graph().add(Op::add, {h, m_.affine(x, sum.added * d_.residual_scale)});
  }

  Importer& m_;
  const Decoder& d_;
  const Layer& layer_;
  const std::string name_;
};

}  // namespace

ValueId token_embedding(Importer& m, const Decoder& d, const std::string& name) {
  const ValueId table = m.weight(name, {d.vocab, d.hidden});
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  g.set_label(name);
  const ValueId h = g.add(Op::embed, {m.tokens(), m.dense(table)});
  return m.affine(m.rotated_back(h, table), d.embedding_scale);
}

ValueId embedding(Importer& m, const Decoder& d) {
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  const ValueId tokens = m.tokens();
  // The table of angles is made before all that reads it.
  for (const Layer& layer : d.layers)
    if (!layer.mixer && layer.has_mixer)
      for (const auto& rope : {layer.attention.rope, layer.attention.query_rope})
        if (rope) m.angles(*rope);

  ValueId h = token_embedding(m, d, "model.embed_tokens");
  if (!m.ok()) return -1;
  if (d.learned_positions) {
    const ValueId positions = m.weight("model.embed_positions", {d.max_positions, d.hidden});
    if (!m.ok()) return -1;
    g.set_label("model.embed_positions");
    h = g.add(Op::add, {h, g.add(Op::embed, {tokens, m.dense(positions)}, {{"by", "position"}})});
  }
  return d.norm_embedding ? apply(m, d.norm, h, "model.embed_norm", d.hidden) : h;
}

std::string layer_name(size_t index) { return fmt::format("model.layers.{}.", index); }

ValueId layer(Importer& m, const Decoder& d, size_t index, ValueId h) {
  return m.ok() ? build_layer(m, d, d.layers[index], layer_name(index), h) : -1;
}

ValueId build_layer(Importer& m, const Decoder& d, const Layer& layer, const std::string& name,
                    ValueId h) {
  return m.ok() ? LayerBuilder(m, d, layer, name).build(h) : -1;
}

absl::StatusOr<ir::Module> head(Importer& m, const Decoder& d, ValueId h) {
  return m.finish(head_logits(m, d, h));
}

ValueId head_logits(Importer& m, const Decoder& d, ValueId h, const HeadNames& names) {
  if (!m.ok()) return -1;
  ir::Builder& g = m.graph();
  h = apply(m, d.norm, h, names.norm, d.hidden);
  if (d.tied) m.ignore("lm_head");  // some checkpoints store the tied matrix twice
  const std::string shared = d.tied ? "model.embed_tokens" : "lm_head";
  const ValueId matrix =
      m.weight(names.matrix.empty() ? shared : names.matrix, {d.vocab, d.hidden});
  const ValueId bias = d.head_bias ? m.weight("lm_head.bias", {d.vocab}) : -1;
  if (!m.ok()) return -1;
  g.set_label(names.matrix.empty() ? "lm_head" : names.matrix);
  ValueId logits = m.multiplied(h, matrix);
  if (bias >= 0) logits = g.add(Op::add, {logits, bias});
  logits = m.affine(logits, d.logit_scale);
  if (d.logit_cap > 0) {
    logits = g.add(Op::tanh, {m.affine(logits, 1 / d.logit_cap)});
    logits = m.affine(logits, d.logit_cap);
  }
  return logits;
}

absl::StatusOr<ir::Module> build(Importer& m, Decoder d) {
  apply_flags(m, d);
  ValueId h = embedding(m, d);
  for (size_t i = 0; i < d.layers.size(); ++i) h = layer(m, d, i, h);
  if (m.drafts && d.mtp) return build_with_mtp(m, d, h);
  if (!m.ok()) return m.finish(-1);
  m.graph().set_label("lm_head");
  return head(m, d, m.graph().add(Op::last_rows, {h}));
}

}  // namespace sinter::models
