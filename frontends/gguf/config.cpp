#include "frontends/gguf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <tuple>
#include <utility>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

// Sizes of models; products of two fit in 63 bits.
constexpr IntRange kSize{1, int64_t{1} << 30};

// Keys that change nothing when they have one of these values, for every architecture here. Others
// are refused by name. Source: LLM_KV_NAMES and the defaults of llama_hparams in
// ggml-org/llama.cpp.
struct NeutralKey {
  std::string_view name;
  std::vector<Json> values;
};
const std::vector<NeutralKey>& neutral_keys() {
  static const std::vector<NeutralKey> keys = {
      {"attention.causal", {true}},
      {"attention.clamp_kqv", {0}},
      {"attention.max_alibi_bias", {0}},
      {"attention.group_norm_groups", {0}},
      {"attention.q_lora_rank", {0}},
      {"attention.kv_lora_rank", {0}},
      {"attention.key_length_mla", {0}},
      {"attention.value_length_mla", {0}},
      {"attention.shared_kv_layers", {0}},
      {"attention.output_scale", {0, 1}},
      {"attention.temperature_length", {0}},
      {"attention.temperature_scale", {0}},
      {"attn_logit_softcapping", {0}},
      {"final_logit_softcapping", {0}},
      {"router_logit_softcapping", {0}},
      {"logit_scale", {0, 1}},
      {"residual_scale", {0, 1}},
      {"embedding_scale", {0, 1}},
      {"use_parallel_residual", {false}},
      {"swin_norm", {false}},
      {"rescale_every_n_layers", {0}},
      {"pooling_type", {0}},
      {"embedding_length_per_layer_input", {0}},
      {"expert_count", {0}},
      {"expert_used_count", {0}},
      {"expert_shared_count", {0}},
      {"expert_group_count", {0}},
      {"expert_group_used_count", {0}},
      {"expert_feed_forward_length", {0}},
      {"expert_shared_feed_forward_length", {0}},
      {"expert_weights_scale", {0, 1}},
      {"expert_weights_norm", {false}},
      {"expert_gating_func", {0}},
      {"leading_dense_block_count", {0}},
      {"interleave_moe_layer_step", {0}},
      {"moe_every_n_layers", {0}},
      {"nextn_predict_layers", {0}},
      {"rope.scaling.yarn_attn_factor", {1}},
      {"rope.scaling.yarn_log_multiplier", {0}},
      {"ssm.conv_kernel", {0}},
      {"ssm.inner_size", {0}},
      {"ssm.state_size", {0}},
      {"ssm.time_step_rank", {0}},
      {"ssm.group_count", {0}},
      {"ssm.dt_b_c_rms", {false}},
  };
  return keys;
}

// A value, or all values of an array.
bool is_neutral(const Json& value, const NeutralKey& key) {
  if (value.is_array()) {
    return std::all_of(value.begin(), value.end(),
                       [&](const Json& item) { return is_neutral(item, key); });
  }
  return std::find(key.values.begin(), key.values.end(), value) != key.values.end();
}

// The keys of one architecture; remembers which were asked for.
class Keys {
 public:
  Keys(const Gguf& gguf, std::string_view architecture)
      : gguf_(gguf), prefix_(std::string(architecture) + ".") {}

  // The key's value; null when it is absent.
  const Json* find(std::string_view name) {
    known_.insert(prefix_ + std::string(name));
    return find_field(gguf_.metadata, prefix_ + std::string(name));
  }
  bool has(std::string_view name) { return find(name) != nullptr; }
  absl::StatusOr<int64_t> integer(std::string_view name) {
    find(name);
    return get_int(gguf_.metadata, prefix_ + std::string(name), gguf_.file, kSize);
  }
  // The whole key, for messages.
  std::string quoted(std::string_view name) const { return fmt::format("\"{}{}\"", prefix_, name); }
  // The key that messages about this field of the configuration speak of.
  void name_field(std::string_view path, std::string_view name) {
    names_[std::string(path)] = prefix_ + std::string(name);
  }
  const std::map<std::string, std::string, std::less<>>& names() const { return names_; }

  absl::Status copy_int(std::string_view name, std::string_view field, Json& config,
                        bool required) {
    const Json* value = find(name);
    if (value == nullptr && !required) return absl::OkStatus();
    // A number per layer says one thing when all layers agree.
    if (value != nullptr && value->is_array() && !value->empty() &&
        std::all_of(value->begin(), value->end(),
                    [&](const Json& other) { return other == value->front(); })) {
      Json common_object = Json::object();
      common_object[prefix_ + std::string(name)] = value->front();
      const auto common = get_int(common_object, prefix_ + std::string(name), gguf_.file, kSize);
      if (!common.ok()) return common.status();
      config[std::string(field)] = *common;
      return absl::OkStatus();
    }
    const auto number = get_int(gguf_.metadata, prefix_ + std::string(name), gguf_.file, kSize);
    if (!number.ok()) return number.status();
    config[std::string(field)] = *number;
    return absl::OkStatus();
  }

  absl::Status copy(const GgufField& f, Json& config) {
    switch (f.kind) {
      case GgufField::Kind::number:
        return copy_number(f.key, f.field, config, f.required);
      case GgufField::Kind::flag: {
        const Json* value = find(f.key);
        if (value == nullptr && !f.required) return absl::OkStatus();
        if (value == nullptr || !value->is_boolean()) return refuse(f.key, "true or false");
        config[std::string(f.field)] = *value;
        return absl::OkStatus();
      }
      case GgufField::Kind::window: {
        // A window of 0 is none.
        const Json* value = find(f.key);
        if (value != nullptr && *value == 0) return absl::OkStatus();
        return copy_int(f.key, f.field, config, f.required);
      }
      case GgufField::Kind::count: {
        const Json* value = find(f.key);
        if (value == nullptr && !f.required) return absl::OkStatus();
        const auto count =
            get_int(gguf_.metadata, prefix_ + std::string(f.key), gguf_.file, {0, kSize.max});
        if (!count.ok()) return count.status();
        config[std::string(f.field)] = *count;
        return absl::OkStatus();
      }
      default: {
        // A count of 0 says that there are none.
        const Json* value = find(f.key);
        if (value != nullptr && *value == 0 && !f.required) return absl::OkStatus();
        return copy_int(f.key, f.field, config, f.required);
      }
    }
  }

  absl::Status copy_number(std::string_view name, std::string_view field, Json& config,
                           bool required) {
    if (find(name) == nullptr && !required) return absl::OkStatus();
    const auto number = get_double(gguf_.metadata, prefix_ + std::string(name), gguf_.file);
    if (!number.ok()) return number.status();
    config[std::string(field)] = *number;
    return absl::OkStatus();
  }

  // Keys whose value says that there is nothing to do. Error: another value.
  absl::Status check_neutral() {
    for (const NeutralKey& key : neutral_keys()) {
      if (known_.contains(prefix_ + std::string(key.name))) continue;
      if (const Json* value = find(key.name); value != nullptr && !is_neutral(*value, key)) {
        return refuse(key.name, fmt::format("{}; other values are not supported for this "
                                            "architecture",
                                            Json(key.values.front()).dump()));
      }
    }
    return absl::OkStatus();
  }

  // Other keys of the architecture would change what the model computes.
  absl::Status check_all_known() const {
    for (const auto& field : gguf_.metadata.items()) {
      if (!field.key().starts_with(prefix_) || known_.contains(field.key())) continue;
      return invalid("{}: the key {} is {}, which is not supported for this architecture",
                     gguf_.file, in_quotes(field.key()), describe(field.value()));
    }
    return absl::OkStatus();
  }

  absl::Status refuse(std::string_view name, std::string_view expected) {
    const Json* value = find(name);
    return invalid("{}: \"{}{}\" is {}, expected {}", gguf_.file, prefix_, name,
                   value == nullptr ? "missing" : describe(*value), expected);
  }

 private:
  const Gguf& gguf_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
  std::map<std::string, std::string, std::less<>> names_;
};

// The factors that divide the RoPE frequencies, of rope_freqs.weight.
absl::StatusOr<Json> rope_factors(const GgufTensor& tensor, int64_t head_dim) {
  if (tensor.type->name != "F32" || tensor.shape != std::vector<int64_t>{head_dim / 2}) {
    return invalid("{}: tensor \"{}\" is {} {}, expected F32 [{}], half the dimensions of a head",
                   tensor.file, kRopeFactors, tensor.type->name, shape_text(tensor.shape),
                   head_dim / 2);
  }
  Json factors = Json::array();
  for (int64_t i = 0; i < tensor.shape[0]; ++i) {
    const float factor = ir::read_element(ir::DType::f32, tensor.bytes.data(), i);
    // Written so that a NaN fails too.
    if (!(factor > 0 && factor <= 1e9F)) {
      return invalid("{}: tensor \"{}\" has the element {}, expected positive numbers", tensor.file,
                     kRopeFactors, factor);
    }
    factors.push_back(factor);
  }
  return factors;
}

// `rope_scaling` of config.json; null when nothing is scaled.
absl::StatusOr<Json> read_rope_scaling(const Gguf& gguf, int64_t head_dim, bool latent,
                                       Keys& keys) {
  Json scaling = Json::object();
  std::string type = "none";
  // Without a type a factor means linear scaling.
  const bool has_factor = keys.has("rope.scaling.factor");
  const bool has_old_factor = keys.has("rope.scale_linear");
  if (const Json* value = keys.find("rope.scaling.type"); value != nullptr) {
    if (!value->is_string()) return keys.refuse("rope.scaling.type", "a string");
    type = value->get<std::string>();
    if (type != "none" && type != "linear" && type != "yarn")
      return keys.refuse("rope.scaling.type", "none, linear or yarn");
    if (latent && type == "linear") return keys.refuse("rope.scaling.type", "none or yarn");
  } else if (has_factor || has_old_factor) {
    type = "linear";
  }
  // How much of YaRN there is; below 0 says nothing.
  if (const Json* extent = keys.find("rope.scaling.yarn_ext_factor"); extent != nullptr) {
    const int expected = type == "yarn" ? 1 : 0;
    if (!extent->is_number() || (extent->get<double>() >= 0 && *extent != expected))
      return keys.refuse("rope.scaling.yarn_ext_factor", std::to_string(expected));
  }
  keys.find("rope.scaling.finetuned");  // says how the model was made
  if (type != "none") {
    scaling["rope_type"] = type;
    const char* factor =
        has_factor || !has_old_factor ? "rope.scaling.factor" : "rope.scale_linear";
    keys.name_field("rope_scaling.rope_type", "rope.scaling.type");
    keys.name_field("rope_scaling.factor", factor);
    keys.name_field("rope_scaling.original_max_position_embeddings",
                    "rope.scaling.original_context_length");
    keys.name_field("rope_scaling.attention_factor", "rope.scaling.attn_factor");
    absl::Status status = keys.copy_number(factor, "factor", scaling, true);
    if (!status.ok()) return status;
  }
  Json unused;
  absl::Status status =
      keys.copy_int("rope.scaling.original_context_length", "original_max_position_embeddings",
                    type == "yarn" ? scaling : unused, false);
  if (!status.ok()) return status;
  if (type == "yarn") {
    for (const auto& [name, field] : {std::pair("rope.scaling.yarn_beta_fast", "beta_fast"),
                                      std::pair("rope.scaling.yarn_beta_slow", "beta_slow")}) {
      status = keys.copy_number(name, field, scaling, false);
      if (!status.ok()) return status;
      keys.name_field(fmt::format("rope_scaling.{}", field), name);
    }
    // A tenth of what config.json has: the factor of scores grows with it, and cosines and sines
    // stay as they are. Without it the two are not what the model's own code makes of its absence.
    if (latent) {
      constexpr const char* kLog = "rope.scaling.yarn_log_multiplier";
      const Json* log = keys.find(kLog);
      if (log == nullptr || !log->is_number() || !(log->get<double>() > 0))
        return keys.refuse(kLog, "a number above 0, which YaRN needs in latent attention");
      scaling["mscale"] = scaling["mscale_all_dim"] = log->get<double>() / 0.1;
      keys.name_field("rope_scaling.mscale", kLog);
      keys.name_field("rope_scaling.mscale_all_dim", kLog);
      if (const Json* factor = keys.find("rope.scaling.attn_factor");
          factor != nullptr && *factor != 1)
        return keys.refuse("rope.scaling.attn_factor", "1");
      return scaling;
    }
    // GGUF multiplies YaRN's own attention factor, config.json replaces it.
    Json attention;
    status = keys.copy_number("rope.scaling.attn_factor", "factor", attention, false);
    if (!status.ok()) return status;
    if (!attention.is_null()) {
      const double factor = std::max(1.0, scaling["factor"].get<double>());
      scaling["attention_factor"] =
          attention["factor"].get<double>() * (0.1 * std::log(factor) + 1.0);
    }
  }
  if (const auto tensor = gguf.tensors.find(kRopeFactors); tensor != gguf.tensors.end()) {
    auto factors = rope_factors(tensor->second, head_dim);
    if (!factors.ok()) return factors.status();
    scaling["frequency_factors"] = *std::move(factors);
  }
  return scaling.empty() ? Json() : scaling;
}

// Whether any of the projections has a bias in any layer.
template <size_t n>
bool has_bias(const Gguf& gguf, const std::array<std::string_view, n>& projections) {
  return std::any_of(gguf.tensors.begin(), gguf.tensors.end(), [&](const auto& tensor) {
    return std::any_of(projections.begin(), projections.end(), [&](std::string_view projection) {
      return tensor.first.ends_with(fmt::format(".{}.bias", projection));
    });
  });
}

// Layers that draft tokens stand behind the others.
absl::Status read_drafting(const Gguf& gguf, std::string_view field, Keys& keys, Json& config) {
  const Json* drafting = keys.find("nextn_predict_layers");
  if (drafting == nullptr) return absl::OkStatus();
  const auto layers = config["num_hidden_layers"].get<int64_t>();
  if (!drafting->is_number_unsigned() || *drafting >= layers)
    return keys.refuse("nextn_predict_layers", fmt::format("an integer below {}, which is {}",
                                                           keys.quoted("block_count"), layers));
  const int64_t others = layers - drafting->get<int64_t>();
  for (int64_t layer = others; layer < layers; ++layer)
    if (const std::string name = fmt::format("blk.{}.nextn.eh_proj.weight", layer);
        !gguf.tensors.contains(name))
      return invalid("{}: {} is {} and counts layer {}, but tensor {} is missing", gguf.file,
                     keys.quoted("nextn_predict_layers"), drafting->get<int64_t>(), layer,
                     in_quotes(name));
  config["num_hidden_layers"] = others;
  config[std::string(field)] = *drafting;
  return absl::OkStatus();
}

// Whether any layer has a tensor of this name.
bool has_layer_tensor(const Gguf& gguf, std::string_view inner) {
  return std::any_of(gguf.tensors.begin(), gguf.tensors.end(), [&](const auto& tensor) {
    return tensor.first.starts_with("blk.") && tensor.first.ends_with(inner);
  });
}

// How long the parts of heads are, and which of DeepSeek's mixtures there is. Files whose keys and
// values are made by one matrix say the lengths of heads, those that have it in two what is left of
// them where keys are the short rows themselves, and the heads' own beside it.
absl::Status read_latent(const Gguf& gguf, const GgufArchitecture& architecture, Keys& keys,
                         Json& config) {
  const bool split = keys.has("attention.key_length_mla");
  const char* key = split ? "attention.key_length_mla" : "attention.key_length";
  const char* value = split ? "attention.value_length_mla" : "attention.value_length";
  const auto key_length = keys.integer(key);
  const auto value_length = keys.integer(value);
  const auto shared = keys.integer("rope.dimension_count");
  for (const absl::Status& status : {key_length.status(), value_length.status(), shared.status()})
    if (!status.ok()) return status;
  if (*shared >= *key_length)
    return keys.refuse("rope.dimension_count",
                       fmt::format("less than {}, which is {}", keys.quoted(key), *key_length));
  const auto heads = config["num_attention_heads"].get<int64_t>();
  if (split) {
    const auto rank = config["kv_lora_rank"].get<int64_t>();
    const std::string rank_key = keys.quoted("attention.kv_lora_rank");
    for (const auto& [name, expected, what] :
         {std::tuple("attention.key_length", rank + *shared,
                     fmt::format("{} and {}", rank_key, keys.quoted("rope.dimension_count"))),
          std::tuple("attention.value_length", rank, rank_key),
          std::tuple("attention.head_count_kv", int64_t{1}, std::string("one latent row"))})
      if (const Json* said = keys.find(name); said != nullptr && *said != expected)
        return keys.refuse(name, fmt::format("{}, {}", expected, what));
  } else if (const Json* said = keys.find("attention.head_count_kv");
             said != nullptr && *said != heads) {
    return keys.refuse("attention.head_count_kv",
                       fmt::format("{}, which is {}", keys.quoted("attention.head_count"), heads));
  }
  config["qk_rope_head_dim"] = config["head_dim"] = *shared;
  config["qk_nope_head_dim"] = *key_length - *shared;
  config["v_head_dim"] = *value_length;
  config["num_key_value_heads"] = heads;
  keys.name_field("qk_rope_head_dim", "rope.dimension_count");
  keys.name_field("qk_nope_head_dim", key);
  keys.name_field("v_head_dim", value);
  if (absl::Status status = read_drafting(gguf, "num_nextn_predict_layers", keys, config);
      !status.ok())
    return status;

  keys.find("rope.scaling.yarn_log_multiplier");  // which YaRN is read with

  // A factor of 0 is none.
  if (config["routed_scaling_factor"] == 0) config["routed_scaling_factor"] = 1.0;
  if (!config.contains("num_experts")) {
    if (config["first_k_dense_replace"] < config["num_hidden_layers"])
      return keys.refuse("expert_count", fmt::format("a number of experts, since {} is {}",
                                                     keys.quoted("leading_dense_block_count"),
                                                     config["first_k_dense_replace"].dump()));
    for (const char* field : {"num_experts", "num_experts_per_tok", "moe_intermediate_size"})
      config[field] = 1;  // of no layer
  }
  for (const auto& [name, field] :
       {std::pair("expert_used_count", "num_experts_per_tok"),
        std::pair("expert_feed_forward_length", "moe_intermediate_size")})
    if (!config.contains(field)) return keys.refuse(name, "a number above 0");
  // Files from before the key are of softmax, or say by their tensors that they are not.
  const bool corrected = has_layer_tensor(gguf, ".exp_probs_b.bias");
  bool sigmoid = corrected;
  if (const Json* gating = keys.find("expert_gating_func"); gating != nullptr && *gating != 0) {
    if (*gating != 1 && *gating != 2)
      return keys.refuse("expert_gating_func", "1 for softmax or 2 for sigmoid");
    sigmoid = *gating == 2;
  }
  if (sigmoid) {
    config["model_type"] = architecture.other_model_type;
  } else {
    config["topk_method"] = config["n_group"] == 1 ? "greedy" : "group_limited_greedy";
  }
  return absl::OkStatus();
}

// Falcon-H1's converter multiplies all factors of the configuration into the matrices: that of
// embeddings and that of logits into two of their own.
absl::Status read_state_space(const Gguf& gguf, Keys& keys, Json& config) {
  if (!gguf.tensors.contains("output.weight"))
    return invalid(
        "{}: tensor \"output.weight\" is missing: logits are made by the embedding, and no key "
        "says "
        "what they are multiplied with; convert the model with a matrix of its own for them",
        gguf.file);
  const auto heads = config["mamba_n_heads"].get<int64_t>();
  if (const auto inner = config["mamba_d_ssm"].get<int64_t>(); inner % heads != 0)
    return keys.refuse("ssm.inner_size", fmt::format("a multiple of {}, which is {}",
                                                     keys.quoted("ssm.time_step_rank"), heads));
  config["mamba_rms_norm"] = has_layer_tensor(gguf, ".ssm_norm.weight");
  config["mamba_conv_bias"] = has_layer_tensor(gguf, ".ssm_conv1d.bias");
  return absl::OkStatus();
}

// What follows from the keys of gated delta nets.
absl::Status read_hybrid(const Gguf& gguf, const GgufArchitecture& architecture, Keys& keys,
                         Json& config) {
  const auto heads = config["linear_num_value_heads"].get<int64_t>();
  const auto inner = config["linear_inner_size"].get<int64_t>();
  if (inner % heads != 0)
    return keys.refuse("ssm.inner_size", fmt::format("a multiple of {}, which is {}",
                                                     keys.quoted("ssm.time_step_rank"), heads));
  config["linear_value_head_dim"] = inner / heads;
  config.erase("linear_inner_size");
  config["linear_heads_tiled"] = architecture.hybrid == GgufArchitecture::Hybrid::tiled;
  // Of images: for text all coordinates of a position are equal.
  if (const Json* sections = keys.find("rope.dimension_sections");
      sections != nullptr && (!sections->is_array() || sections->size() != 4 ||
                              !std::ranges::all_of(*sections, [](const Json& section) {
                                return section.is_number_integer() && section.get<int64_t>() >= 0;
                              })))
    return keys.refuse("rope.dimension_sections", "a list of 4 integers that are not negative");
  if (absl::Status status = read_drafting(gguf, "mtp_num_hidden_layers", keys, config);
      !status.ok())
    return status;
  if (const Json* recurrent = keys.find("attention.recurrent_layers"); recurrent != nullptr) {
    Json types = Json::array();
    if (recurrent->is_array())
      for (const Json& layer : *recurrent)
        if (layer.is_boolean())
          types.push_back(layer.get<bool>() ? "linear_attention" : "full_attention");
    if (!recurrent->is_array() || types.size() != recurrent->size())
      return keys.refuse("attention.recurrent_layers", "a list of true and false");
    config["layer_types"] = std::move(types);
    keys.name_field("layer_types", "attention.recurrent_layers");
  }
  return absl::OkStatus();
}

// Layers without KV heads are short convolutions, the others attend.
absl::Status read_convolutions(Keys& keys, Json& config) {
  constexpr const char* kKey = "attention.head_count_kv";
  const auto layers = config["num_hidden_layers"].get<int64_t>();
  const auto heads = config["num_attention_heads"].get<int64_t>();
  const Json* counts = keys.find(kKey);
  const std::string expected = fmt::format(
      "{} numbers of KV heads, 0 for a convolution and else one divisor of {}, which is {}", layers,
      keys.quoted("attention.head_count"), heads);
  if (counts == nullptr || !counts->is_array() || static_cast<int64_t>(counts->size()) != layers)
    return keys.refuse(kKey, expected);
  Json types = Json::array();
  int64_t kv_heads = 0;
  for (const Json& count : *counts) {
    const int64_t number = count.is_number_integer() ? count.get<int64_t>() : -1;
    if (number < 0 || (number > 0 && (heads % number != 0 || (kv_heads > 0 && number != kv_heads))))
      return keys.refuse(kKey, expected);
    if (number > 0) kv_heads = number;
    types.push_back(number > 0 ? "full_attention" : "conv");
  }
  config["num_key_value_heads"] = std::max<int64_t>(1, kv_heads);
  config["layer_types"] = std::move(types);
  return absl::OkStatus();
}

absl::StatusOr<Json> read_config(const Gguf& gguf, const GgufArchitecture& architecture,
                                 Keys& keys) {
  Json config = Json::parse(architecture.constants);
  config["model_type"] = architecture.model_type;
  using FieldKind = GgufField::Kind;
  std::vector<GgufField> fields = {{"block_count", "num_hidden_layers"},
                                   {"context_length", "max_position_embeddings"},
                                   {"embedding_length", "hidden_size"},
                                   {"feed_forward_length", "intermediate_size", FieldKind::integer,
                                    architecture.hybrid == GgufArchitecture::Hybrid::no},
                                   {"attention.head_count", "num_attention_heads"},
                                   {architecture.layer_norms ? "attention.layer_norm_epsilon"
                                                             : "attention.layer_norm_rms_epsilon",
                                    "rms_norm_eps", FieldKind::number},
                                   {"rope.freq_base", "rope_theta", FieldKind::number, false}};
  if (!architecture.convolutions && !architecture.latent)
    fields.push_back({"attention.head_count_kv", "num_key_value_heads", FieldKind::integer, false});
  if (!architecture.latent)
    fields.push_back({"attention.key_length", "head_dim", FieldKind::integer, false});
  if (!architecture.windows)
    fields.push_back({"attention.sliding_window", "sliding_window", FieldKind::window, false});
  fields.insert(fields.end(), architecture.fields.begin(), architecture.fields.end());
  for (const GgufField& f : fields) {
    if (absl::Status status = keys.copy(f, config); !status.ok()) return status;
    keys.name_field(f.field, f.key);
  }
  if (architecture.hybrid != GgufArchitecture::Hybrid::no)
    if (absl::Status status = read_hybrid(gguf, architecture, keys, config); !status.ok())
      return status;
  if (architecture.convolutions)
    if (absl::Status status = read_convolutions(keys, config); !status.ok()) return status;
  if (architecture.latent)
    if (absl::Status status = read_latent(gguf, architecture, keys, config); !status.ok())
      return status;
  if (architecture.state_space)
    if (absl::Status status = read_state_space(gguf, keys, config); !status.ok()) return status;
  for (const GgufFixed& fixed : architecture.fixed)
    if (const Json* value = keys.find(fixed.key); value != nullptr && *value != fixed.value)
      return keys.refuse(fixed.key, fmt::format("{}; other values are not supported for this "
                                                "architecture",
                                                fixed.value));
  if (const auto experts = config.find("num_experts");
      experts != config.end() && !architecture.latent && !architecture.other_model_type.empty())
    if (*experts != 0) config["model_type"] = architecture.other_model_type;
  if (absl::Status status = keys.check_neutral(); !status.ok()) return status;
  // Of norms of the other kind, which there are none of.
  keys.find(architecture.layer_norms ? "attention.layer_norm_rms_epsilon"
                                     : "attention.layer_norm_epsilon");
  keys.find("vocab_size");
  // What llama.cpp takes for keys that are absent, whatever the defaults of config.json are.
  if (!config.contains("num_key_value_heads"))
    config["num_key_value_heads"] = config["num_attention_heads"];
  if (!config.contains("rope_theta")) config["rope_theta"] = 10000.0;
  keys.find("tensor_data_layout");  // a name for the order of q's and k's rows
  // Absent: all of the hidden size, divided among the heads.
  if (!config.contains("head_dim")) {
    config["head_dim"] = std::max<int64_t>(
        1, config["hidden_size"].get<int64_t>() / config["num_attention_heads"].get<int64_t>());
  }
  if (config["num_attention_heads"].get<int64_t>() % config["num_key_value_heads"].get<int64_t>() !=
      0) {
    return keys.refuse(
        "attention.head_count_kv",
        fmt::format("a divisor of {}, which is {}", keys.quoted("attention.head_count"),
                    config["num_attention_heads"].get<int64_t>()));
  }
  const auto head_dim = config["head_dim"].get<int64_t>();
  // For messages: the key that the length of a key is from.
  const std::string head_dim_source = keys.has("attention.key_length")
                                          ? keys.quoted("attention.key_length")
                                          : fmt::format("{} / {}", keys.quoted("embedding_length"),
                                                        keys.quoted("attention.head_count"));
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    const Json* value = keys.find(key);
    if (value == nullptr || *value == head_dim || architecture.latent) continue;
    const bool part = architecture.partial_rope &&
                      std::string_view(key) == "rope.dimension_count" &&
                      value->is_number_unsigned() && *value > 0 && *value < head_dim;
    if (!part) return keys.refuse(key, fmt::format("{}, which is {}", head_dim, head_dim_source));
    config["partial_rotary_factor"] = value->get<double>() / static_cast<double>(head_dim);
    keys.name_field("partial_rotary_factor", key);
  }
  if (architecture.interleaved_heads && head_dim % 2 != 0)
    return invalid("{}: {} is {}, expected an even number", gguf.file, head_dim_source, head_dim);
  keys.find("attention.sliding_window_pattern");  // which layers have the window
  if (const Json* scale = keys.find("attention.scale");
      scale != nullptr && !config.contains("attention_multiplier")) {
    const double usual = 1 / std::sqrt(static_cast<double>(head_dim));
    const bool is_usual = scale->is_number() &&
                          (*scale == 0 || std::abs(scale->get<double>() - usual) < 1e-6 * usual);
    if (!is_usual) {
      return keys.refuse("attention.scale",
                         fmt::format("{}, 1 / sqrt({})", usual, head_dim_source));
    }
  }
  // The rows of the embedding count: converters have written other sizes.
  const auto embedding = gguf.tensors.find("token_embd.weight");
  if (embedding == gguf.tensors.end())
    return invalid("{}: tensor \"token_embd.weight\" is missing", gguf.file);
  config["vocab_size"] = embedding->second.shape.front();
  config["tie_word_embeddings"] = !gguf.tensors.contains("output.weight");
  config["attention_bias"] = !architecture.latent && has_bias(gguf, kAttention);
  config["mlp_bias"] = has_bias(gguf, kMlp);
  auto scaling = read_rope_scaling(gguf, head_dim, architecture.latent, keys);
  if (!scaling.ok()) return scaling.status();
  if (!scaling->is_null()) config["rope_scaling"] = *std::move(scaling);
  if (absl::Status status = keys.check_all_known(); !status.ok()) return status;
  return config;
}

// llama.cpp has no windows for these architectures, whatever the file says.
void note_window(const Gguf& gguf, const Keys& keys, GgufConfig& config) {
  const Json* window = find_field(config.fields, "sliding_window");
  if (window == nullptr || *window >= config.fields["max_position_embeddings"]) return;
  config.notes.push_back(
      fmt::format("{}: {} is {}, but attention sees the whole context, as in llama.cpp; if the "
                  "model needs the window, the results are wrong beyond it",
                  gguf.file, keys.quoted("attention.sliding_window"), window->dump()));
}

// Old converters leave out how experts are grouped.
void note_groups(const Gguf& gguf, const GgufArchitecture& architecture, Keys& keys,
                 GgufConfig& config) {
  if (config.fields["model_type"] == architecture.model_type || keys.has("expert_group_count"))
    return;
  config.notes.push_back(
      fmt::format("{}: {} is missing, so that tokens choose among all experts, as in llama.cpp; if "
                  "the model's are in groups, the results are a little wrong",
                  gguf.file, keys.quoted("expert_group_count")));
}

}  // namespace

absl::StatusOr<GgufConfig> read_gguf_config(const Gguf& gguf,
                                            const GgufArchitecture& architecture) {
  Keys keys(gguf, architecture.name);
  auto fields = read_config(gguf, architecture, keys);
  if (!fields.ok()) return fields.status();
  GgufConfig config{*std::move(fields), keys.names(), {}};
  if (!architecture.windows) note_window(gguf, keys, config);
  if (architecture.latent) note_groups(gguf, architecture, keys, config);
  return config;
}

}  // namespace sinter::frontends
