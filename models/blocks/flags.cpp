#include "models/blocks/flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <variant>

#include "frontends/json_fields.h"
#include "frontends/near_names.h"

namespace sinter::models {

using nlohmann::json;

namespace {

struct Switch {};
struct Number {
  double min, max;
};
using Enumeration = std::vector<std::string_view>;

// Change a decoder, or of each layer what `d` has there.
using OfDecoder = void (*)(Importer& m, Decoder& d, const json& value);
using OfAttention = void (*)(const Decoder& d, Attention& a, const json& value);
using OfMlp = void (*)(const Decoder& d, Mlp& p, const json& value);

struct Flag {
  std::string_view name;
  std::variant<Switch, Number, Enumeration> values;
  std::variant<OfDecoder, OfAttention, OfMlp> change;
  std::string_view what;
};

// Values of `Enumeration` are those of an enumeration in its order.
template <class Enum>
Enum choice_of(const json& value, const Enumeration& choices) {
  for (size_t i = 0; i < choices.size(); ++i)
    if (value == choices[i]) return static_cast<Enum>(i);
  return Enum{};
}

const Enumeration kNormKinds = {"rms", "layer"};
const Enumeration kPostNorms = {"none", "also", "only"};
const Enumeration kParallel = {"none", "one_norm", "two_norms"};
const Enumeration kHeadNorms = {"none", "head", "each_head", "row"};
const Enumeration kPackings = {"apart", "blocks", "kv_heads", "heads"};
const Enumeration kGates = {"none", "in_query", "apart"};
const Enumeration kRopeStyles = {"none", "half", "interleaved"};

constexpr Number kScale = {1e-9, 1e9};
constexpr Number kCap = {0, 1e9};

absl::Status refused(const Importer& m, std::string_view flag, std::string_view why) {
  return frontends::invalid("{}: \"blocks.{}\" {}", m.entry->where, flag, why);
}

// All norms of a decoder, those of its heads too.
void for_each_norm(Decoder& d, const std::function<void(Norm&)>& change) {
  change(d.norm);
  for (Layer& layer : d.layers) {
    change(layer.attention.qk_norm);
    if (layer.attention.output_norm) change(*layer.attention.output_norm);
    if (layer.mlp.norm) change(*layer.mlp.norm);
  }
}

void set_post_norms(Importer& /*m*/, Decoder& d, const json& value) {
  if (value == "none") {
    d.norms = {};
  } else {
    d.norms.after_mixer = "post_attention_layernorm";
    d.norms.after_feed_forward = "post_feedforward_layernorm";
    d.norms.before_mixer = value == "only" ? "" : "input_layernorm";
    d.norms.before_feed_forward = value == "only" ? "" : "pre_feedforward_layernorm";
  }
}

void set_sub_norms(Importer& /*m*/, Decoder& d, const json& value) {
  const auto norm = value.get<bool>() ? std::optional(d.norm) : std::nullopt;
  for (Layer& layer : d.layers) layer.attention.output_norm = layer.mlp.norm = norm;
}

void set_parallel(Importer& /*m*/, Decoder& d, const json& value) {
  d.parallel = value != "none";
  d.norms.before_feed_forward = value == "one_norm" ? "" : LayerNorms().before_feed_forward;
}

// RoPE stays off the layers that have none.
void set_rope_style(Importer& m, Decoder& d, const json& value) {
  bool found = false;
  d.for_each_attention([&](Attention& a, int64_t) {
    found = found || a.rope;
    if (value == "none") {
      a.rope.reset();
      a.query_rope.reset();
    }
    if (a.rope) a.rope->interleaved = value == "interleaved";
    if (a.query_rope) a.query_rope->interleaved = value == "interleaved";
  });
  if (!found && value != "none")
    m.fail(refused(m, "rope_style",
                   fmt::format("is {}, but {} has no RoPE", value.dump(), m.entry->base)));
}

const std::vector<Flag>& flags() {
  static const std::vector<Flag> table = {
      {"norm", kNormKinds, OfDecoder([](Importer&, Decoder& d, const json& value) {
         for_each_norm(d,
                       [&](Norm& norm) { norm.kind = choice_of<Norm::Kind>(value, kNormKinds); });
       }),
       "all norms are RMS norms or layer norms"},
      {"norm_bias", Switch(), OfDecoder([](Importer&, Decoder& d, const json& value) {
         for_each_norm(d, [&](Norm& norm) { norm.has_bias = value.get<bool>(); });
       }),
       "layer norms have biases"},
      {"norm_weight", Switch(), OfDecoder([](Importer&, Decoder& d, const json& value) {
         for_each_norm(d, [&](Norm& norm) { norm.has_weight = value.get<bool>(); });
       }),
       "norms have weights"},
      {"norms_less_one", Switch(), OfDecoder([](Importer&, Decoder& d, const json& value) {
         for_each_norm(d, [&](Norm& norm) { norm.less_one = value.get<bool>(); });
       }),
       "weights of norms are stored less 1"},
      {"post_norms", kPostNorms, OfDecoder(set_post_norms),
       "norms behind attention (post_attention_layernorm) and MLP (post_feedforward_layernorm), "
       "beside those before them (input_layernorm, pre_feedforward_layernorm) or alone"},
      {"parallel", kParallel, OfDecoder(set_parallel),
       "attention and MLP side by side, behind one norm (input_layernorm) or one each"},
      {"sub_norms", Switch(), OfDecoder(set_sub_norms),
       "norms before the last products of attention (self_attn.attn_sub_norm) and MLP "
       "(mlp.ffn_sub_norm)"},
      {"embedding_scale", kScale,
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.embedding_scale = value; }),
       "embeddings are multiplied with it"},
      {"residual_scale", kScale,
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.residual_scale = value; }),
       "what attention and MLP add is multiplied with it"},
      {"logit_scale", kScale,
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.logit_scale = value; }),
       "logits are multiplied with it"},
      {"logit_cap", kCap,
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.logit_cap = value; }),
       "cap tanh(logits / cap); 0: none"},
      {"head_bias", Switch(),
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.head_bias = value; }),
       "the output head has a bias"},
      {"learned_positions", Switch(),
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.learned_positions = value; }),
       "embeddings of positions (model.embed_positions) are added to those of tokens"},
      {"embedding_norm", Switch(),
       OfDecoder([](Importer&, Decoder& d, const json& value) { d.norm_embedding = value; }),
       "a norm behind the embedding (model.embed_norm)"},
      {"windows", Switch(), OfDecoder([](Importer& m, Decoder& d, const json& value) {
         d.for_each_attention([](Attention& a, int64_t) { a.window = 0; });
         if (value.get<bool>()) read_windows(m, d, true);
       }),
       "attention sees \"sliding_window\" positions, on the layers that \"layer_types\" lists, or "
       "on all"},
      {"rope_style", kRopeStyles, OfDecoder(set_rope_style),
       "RoPE turns a feature with the one half a head away, or with its neighbour"},

      {"qk_norm", kHeadNorms, OfAttention([](const Decoder& d, Attention& a, const json& value) {
         a.qk_norms = choice_of<Attention::HeadNorms>(value, kHeadNorms);
         a.qk_norm = d.norm;
       }),
       "norms of queries and keys (self_attn.q_norm, k_norm): of heads, with weights for each head "
       "or over whole rows"},
      {"qk_norm_after_rope", Switch(),
       OfAttention(
           [](const Decoder&, Attention& a, const json& value) { a.norm_after_rope = value; }),
       "norms of heads behind RoPE"},
      {"qkv_bias", Switch(),
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.qkv_bias = value; }),
       "biases of queries, keys and values"},
      {"output_bias", Switch(),
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.output_bias = value; }),
       "a bias of attention's output projection"},
      {"packing", kPackings, OfAttention([](const Decoder&, Attention& a, const json& value) {
         a.packing = choice_of<Attention::Packing>(value, kPackings);
       }),
       "queries, keys and values are three matrices, or one (self_attn.qkv_proj): in three blocks, "
       "by KV head or by head"},
      {"attention_transposed", Switch(),
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.transposed = value; }),
       "attention's matrices are stored [in, out]"},
      {"attention_gate", kGates, OfAttention([](const Decoder&, Attention& a, const json& value) {
         a.gate = choice_of<Attention::Gate>(value, kGates);
       }),
       "the sigmoid of a gate on attention's result: beside each head in q_proj, or "
       "self_attn.gate_proj"},
      {"attention_scale", kScale,
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.scale = value; }),
       "scores are multiplied with it"},
      {"attention_cap", kCap,
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.cap = value; }),
       "cap tanh(score / cap); 0: none"},
      {"clip_qkv", kCap,
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.clip = value; }),
       "queries, keys and values lie within -clip..clip; 0: anywhere"},
      {"sinks", Switch(),
       OfAttention([](const Decoder&, Attention& a, const json& value) { a.sinks = value; }),
       "a score for each head that nothing is taken for (self_attn.sinks)"},

      {"mlp_gated", Switch(),
       OfMlp([](const Decoder&, Mlp& p, const json& value) { p.gated = value; }),
       "down(act(gate(x)) * up(x)), else down(act(up(x)))"},
      {"mlp_packed", Switch(),
       OfMlp([](const Decoder&, Mlp& p, const json& value) { p.packed = value; }),
       "gate and up are one matrix (mlp.gate_up_proj), gate first"},
      {"mlp_transposed", Switch(),
       OfMlp([](const Decoder&, Mlp& p, const json& value) { p.transposed = value; }),
       "the MLP's matrices are stored [in, out]"},
      {"mlp_bias", Switch(),
       OfMlp([](const Decoder&, Mlp& p, const json& value) { p.bias = value; }),
       "biases of the MLP"},
      {"gate_scale", kScale,
       OfMlp([](const Decoder&, Mlp& p, const json& value) { p.gate_scale = value; }),
       "the gate is multiplied with it before its activation"},
      {"down_scale", kScale,
       OfMlp([](const Decoder&, Mlp& p, const json& value) { p.down_scale = value; }),
       "the MLP's result is multiplied with it"},
  };
  return table;
}

std::string values_text(const Flag& flag) {
  if (const auto* choice = std::get_if<Enumeration>(&flag.values))
    return fmt::format("\"{}\"", fmt::join(*choice, "\", \""));
  if (const auto* number = std::get_if<Number>(&flag.values))
    return fmt::format("a number from {:g} to {:g}", number->min, number->max);
  return "true or false";
}

bool has_value(const Flag& flag, const json& value) {
  if (const auto* choice = std::get_if<Enumeration>(&flag.values))
    return value.is_string() &&
           std::ranges::find(*choice, value.get_ref<const std::string&>()) != choice->end();
  if (const auto* number = std::get_if<Number>(&flag.values))
    return value.is_number() && value.get<double>() >= number->min &&
           value.get<double>() <= number->max;
  return value.is_boolean();
}

// Makes the change; whether there was anything to change.
bool change(const Flag& flag, const json& value, Importer& m, Decoder& d) {
  if (const auto* of = std::get_if<OfDecoder>(&flag.change)) {
    (*of)(m, d, value);
    return true;
  }
  bool found = false;
  const auto* of_attention = std::get_if<OfAttention>(&flag.change);
  const auto* of_mlp = std::get_if<OfMlp>(&flag.change);
  for (Layer& layer : d.layers) {
    if (of_attention != nullptr && layer.has_mixer && !layer.mixer) {
      (*of_attention)(d, layer.attention, value);
      found = true;
    }
    if (of_mlp != nullptr && layer.has_feed_forward && !layer.feed_forward) {
      (*of_mlp)(d, layer.mlp, value);
      found = true;
    }
  }
  return found;
}

}  // namespace

std::vector<FlagText> flag_texts() {
  std::vector<FlagText> texts;
  for (const Flag& flag : flags()) texts.push_back({flag.name, values_text(flag), flag.what});
  return texts;
}

absl::Status check_flags(const json& values, std::string_view where) {
  for (const auto& [name, value] : values.items()) {
    const auto flag = std::ranges::find(flags(), name, &Flag::name);
    if (flag == flags().end()) {
      std::vector<std::string_view> known;
      for (const Flag& one : flags()) known.push_back(one.name);
      std::string near;
      for (const std::string_view one : frontends::near_names(name, known))
        near += (near.empty() ? "; did you mean " : ", ") + frontends::in_quotes(one);
      return frontends::invalid(
          "{}: \"blocks\" has {}, which is no flag{}; `sinter arch --flags` "
          "lists the {} that are",
          where, frontends::in_quotes(name), near, flags().size());
    }
    if (!has_value(*flag, value))
      return frontends::invalid("{}: \"blocks.{}\" is {}, expected {}", where, name,
                                frontends::describe(value), values_text(*flag));
  }
  return absl::OkStatus();
}

void apply_flags(Importer& m, Decoder& d) {
  if (m.entry == nullptr || !m.ok()) return;
  m.flags_taken = true;
  // In the order of the table, whatever that of the entry: norms are what they are before others
  // become like them.
  for (const Flag& flag : flags()) {
    const auto value = m.entry->blocks.find(flag.name);
    if (value == m.entry->blocks.end() || change(flag, *value, m, d)) continue;
    m.fail(refused(m, flag.name,
                   fmt::format("is of {}, but every layer has another block in its place",
                               std::holds_alternative<OfMlp>(flag.change) ? "MLPs" : "attention")));
  }
  const auto is_on = [&](std::string_view name) {
    const auto value = m.entry->blocks.find(name);
    return value != m.entry->blocks.end() && *value == true;
  };
  if (is_on("norm_bias") && d.norm.kind == Norm::Kind::rms)
    m.fail(refused(m, "norm_bias", "is true, but RMS norms have no biases; see \"norm\""));
  if (is_on("qk_norm_after_rope"))
    d.for_each_attention([&](Attention& a, int64_t) {
      if (a.qk_norms == Attention::HeadNorms::none || a.qk_norms == Attention::HeadNorms::row)
        m.fail(
            refused(m, "qk_norm_after_rope", "is true, but heads have no norms; see \"qk_norm\""));
    });
}

}  // namespace sinter::models
