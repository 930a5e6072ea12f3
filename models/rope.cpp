#include "models/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>

namespace sinter::models {

namespace {

using frontends::Json;

constexpr NumberRange kFactor{1e-3, 1e6};
constexpr frontends::IntRange kPositions{1, int64_t{1} << 30};

// inv_freq[i] = base^(-2i/dims)
std::vector<double> plain(double base, int64_t dims) {
  std::vector<double> out;
  for (int64_t i = 0; i < dims; i += 2)
    out.push_back(1.0 / std::pow(base, static_cast<double>(i) / static_cast<double>(dims)));
  return out;
}

// Where the parameters are: the configuration itself, whose fields they inherit, and the object
// for them, if there is one.
struct RopeHome {
  const Config& config;
  std::optional<Config> own;
  bool keyed = false;  // `own` is that of one type of layers

  // The one that has the field; `config` when neither does.
  const Config& home(std::string_view field) const {
    return own && own->has(field) ? *own : config;
  }
};

// The positions that the model was trained for, before it was stretched.
absl::StatusOr<int64_t> original_positions(const RopeHome& fields,
                                           std::optional<int64_t> otherwise) {
  constexpr const char* kField = "original_max_position_embeddings";
  // The field of the configuration itself comes first, as in transformers.
  fields.own->mark_read(kField);
  const Config& home = fields.config.has(kField) ? fields.config : *fields.own;
  return home.integer(kField, kPositions, otherwise);
}

// Long wavelengths are stretched by `factor`, short ones kept, those between are blended.
absl::Status scale_llama3(const RopeHome& fields, int64_t max_positions,
                          std::vector<double>& inv_freq) {
  const Config& p = *fields.own;
  const auto factor = p.number("factor", kFactor);
  const auto low = p.number("low_freq_factor", kFactor);
  const auto high = p.number("high_freq_factor", kFactor);
  const auto original = original_positions(fields, max_positions);
  for (const absl::Status& status :
       {factor.status(), low.status(), high.status(), original.status()})
    if (!status.ok()) return status;
  if (*high <= *low)
    return p.refuse("high_freq_factor", fmt::format("is {}, expected more than {}, which is {}",
                                                    *high, p.name("low_freq_factor"), *low));
  const auto positions = static_cast<double>(*original);
  for (double& f : inv_freq) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > positions / *low) {
      f /= *factor;
    } else if (wavelength >= positions / *high) {
      const double smooth = (positions / wavelength - *low) / (*high - *low);
      f = (1 - smooth) * f / *factor + smooth * f;
    }
  }
  return absl::OkStatus();
}

// GGUF files carry llama3's scaling as one divisor per pair.
absl::Status divide_by_factors(const Config& p, std::vector<double>& inv_freq) {
  constexpr const char* kField = "frequency_factors";
  const Json* factors = p.find(kField);
  if (factors == nullptr) return absl::OkStatus();
  if (!factors->is_array() || factors->size() != inv_freq.size())
    return p.refuse(kField, fmt::format("is {}, expected {} numbers, one for every pair that RoPE "
                                        "rotates",
                                        frontends::describe(*factors), inv_freq.size()));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const Json& factor = (*factors)[i];
    // Written so that a NaN fails too.
    if (!factor.is_number() || !(factor.get<double>() > 0 && factor.get<double>() <= 1e9))
      return p.refuse(
          kField, fmt::format("has {}, expected positive numbers", frontends::describe(factor)));
    inv_freq[i] /= factor.get<double>();
  }
  return absl::OkStatus();
}

// Every frequency has a divisor of its own, one list of them for texts up to the original length
// and one for longer ones. A plan has one table: the long one, unless no text is long.
absl::Status scale_longrope(const RopeHome& fields, bool mscales, std::vector<double>& inv_freq,
                            Rope& rope) {
  const Config& p = *fields.own;
  const auto original = original_positions(fields, rope.max_positions);
  if (!original.ok()) return original.status();
  const bool is_long = rope.max_positions > *original;
  const char* list = is_long ? "long_factor" : "short_factor";
  const auto factors = p.numbers(list, static_cast<int64_t>(inv_freq.size()));
  if (!factors.ok()) return factors.status();
  for (const char* field : {"long_factor", "short_factor"}) p.mark_read(field);
  const double stretch = static_cast<double>(rope.max_positions) / static_cast<double>(*original);
  const auto factor = p.number("factor", kFactor, stretch);
  if (!factor.ok()) return factor.status();
  const double by_default =
      *factor <= 1 ? 1.0
                   : std::sqrt(1 + std::log(*factor) / std::log(static_cast<double>(*original)));
  const auto attention_factor = p.number("attention_factor", {1e-3, 1e3}, by_default);
  if (!attention_factor.ok()) return attention_factor.status();
  rope.scale = *attention_factor;
  if (mscales) {
    for (const char* field : {"long_mscale", "short_mscale"}) p.mark_read(field);
    const auto mscale = p.number(is_long ? "long_mscale" : "short_mscale", {1e-3, 1e3});
    if (!mscale.ok()) return mscale.status();
    rope.scale = *mscale;
  }
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    if (!((*factors)[i] >= kFactor.min && (*factors)[i] <= kFactor.max))
      return p.refuse(list, fmt::format("has {}, expected numbers from {} to {}", (*factors)[i],
                                        kFactor.min, kFactor.max));
    inv_freq[i] /= (*factors)[i];
  }
  return absl::OkStatus();
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

absl::Status scale_yarn(const RopeHome& fields, double base, std::vector<double>& inv_freq,
                        Rope& rope) {
  const Config& p = *fields.own;
  const auto factor = p.number("factor", {1.0, kFactor.max});
  const auto beta_fast = p.number("beta_fast", kFactor, 32.0);
  const auto beta_slow = p.number("beta_slow", kFactor, 1.0);
  const auto original = original_positions(fields, rope.max_positions);
  const auto truncate = p.flag("truncate", true);
  const auto mscale = p.number("mscale", {0.0, 1e3}, 0.0);
  const auto mscale_all_dim = p.number("mscale_all_dim", {0.0, 1e3}, 0.0);
  const double by_default = factor.ok() ? yarn_mscale(*factor, 1.0) : 1.0;
  const auto attention_factor = p.number("attention_factor", {1e-3, 1e3}, by_default);
  for (const absl::Status& status :
       {factor.status(), beta_fast.status(), beta_slow.status(), original.status(),
        truncate.status(), mscale.status(), mscale_all_dim.status(), attention_factor.status()})
    if (!status.ok()) return status;

  rope.scale = *attention_factor;
  if (!p.has("attention_factor") && *mscale != 0 && *mscale_all_dim != 0)
    rope.scale = yarn_mscale(*factor, *mscale) / yarn_mscale(*factor, *mscale_all_dim);
  if (*mscale_all_dim != 0) rope.mscale = yarn_mscale(*factor, *mscale_all_dim);
  const double reach = std::floor(*factor * static_cast<double>(*original));
  rope.max_positions =
      std::max(rope.max_positions,
               static_cast<int64_t>(std::min(reach, static_cast<double>(kPositions.max))));

  const auto dims = static_cast<double>(inv_freq.size() * 2);
  const auto correction = [&](double rotations) {
    return dims * std::log(static_cast<double>(*original) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(base));
  };
  double low = correction(*beta_fast);
  double high = correction(*beta_slow);
  if (*truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inv_freq[i] = inv_freq[i] * (1 - ramp) + inv_freq[i] / *factor * ramp;
  }
  return absl::OkStatus();
}

// The object with the parameters. Keyed by layer type it is the one for full attention, which all
// layers have that get as far as RoPE.
absl::StatusOr<RopeHome> find_rope_fields(const Config& config, std::string_view layer_type) {
  constexpr const char* kOld = "rope_scaling";
  constexpr const char* kNew = "rope_parameters";
  const auto said = [&](const char* field) {
    const Json* value = config.find(field);
    return value != nullptr && !(value->is_object() && value->empty());
  };
  const bool has_old = said(kOld);
  const bool has_new = said(kNew);
  RopeHome fields{config, {}};
  if (!has_old && !has_new) return fields;
  const char* field = has_old ? kOld : kNew;
  auto own = config.section(field);
  if (!own.ok()) return own.status();
  if (has_old && has_new && *config.find(kOld) != *config.find(kNew))
    config.note(fmt::format("{} is used and {} is ignored, as in transformers", config.name(kOld),
                            config.name(kNew)));
  size_t objects = 0, others = 0;
  for (const auto& entry : own->fields().items()) {
    const bool is_object = entry.value().is_object();
    objects += is_object ? 1 : 0;
    others += is_object || entry.value().is_null() ? 0 : 1;
  }
  if (objects == 0) {
    fields.own = *std::move(own);
    return fields;
  }
  if (others > 0)
    return config.refuse(field,
                         "mixes parameters and objects for layer types; expected one or the other");
  if (!own->has(layer_type))
    return config.refuse(field, fmt::format("is keyed by layer type, but has nothing for \"{}\", "
                                            "the type of this model's layers",
                                            layer_type));
  for (const auto& entry : own->fields().items()) own->mark_read(entry.key());
  auto keyed = own->section(layer_type);
  if (!keyed.ok()) return keyed.status();
  fields.own = *std::move(keyed);
  fields.keyed = true;
  return fields;
}

// The frequencies before they are scaled by the rope type. `proportional`: those of the whole head,
// of which only the first are not 0.
absl::StatusOr<std::vector<double>> unscaled(const RopeHome& fields, double base, int64_t head_dim,
                                             bool proportional) {
  constexpr const char* kPartial = "partial_rotary_factor";
  const auto partial = fields.home(kPartial).number(kPartial, {0.0, 1.0}, 1.0);
  if (!partial.ok()) return partial.status();
  const auto dims = static_cast<int64_t>(static_cast<double>(head_dim) * *partial) / 2 * 2;
  if (dims < 2)
    return fields.config.refuse(
        "head_dim", fmt::format("is {}, and {} is {}; expected at least two dimensions to rotate",
                                head_dim, fields.home(kPartial).name(kPartial), *partial));
  std::vector<double> inv_freq = plain(base, proportional ? head_dim : dims);
  if (proportional) std::fill(inv_freq.begin() + dims / 2, inv_freq.end(), 0.0);
  if (fields.own)
    if (absl::Status status = divide_by_factors(*fields.own, inv_freq); !status.ok()) return status;
  return inv_freq;
}

}  // namespace

absl::StatusOr<Rope> read_rope(const Config& config, const RopeFields& fields) {
  const int64_t max_positions = fields.max_positions;
  auto home = find_rope_fields(config, fields.layer_type);
  if (!home.ok()) return home.status();
  const bool keyed = home->own && home->keyed;
  if (!fields.scaled && !keyed) home->own.reset();
  const std::string_view theta = keyed ? "rope_theta" : fields.theta;
  const auto base = home->home(theta).number(theta, {1.0 + 1e-6, 1e15}, 10000.0);
  if (!base.ok()) return base.status();
  const auto traditional = config.flag("rope_traditional", false);
  if (!traditional.ok()) return traditional.status();

  Rope rope;
  rope.interleaved = *traditional;
  rope.max_positions = max_positions;
  std::string type = "default";
  const char* type_field = "type";
  if (home->own) {
    const Config& p = *home->own;
    if (p.has("rope_type")) type_field = "rope_type";
    p.mark_read("type");
    auto said = p.text(type_field, "default");
    if (!said.ok()) return said.status();
    type = *std::move(said);
    // Of images: for text all of a position's coordinates are equal.
    p.mark_read("mrope_section");
    p.mark_read("mrope_interleaved");
  }
  auto inv_freq = unscaled(*home, *base, fields.head_dim, type == "proportional");
  if (!inv_freq.ok()) return inv_freq.status();
  absl::Status status;
  if (fields.mscales && type != "default" && type != "longrope" && type != "su") {
    status = home->own->refuse(
        type_field, fmt::format("is {}, which is not supported in this family; known: default, "
                                "longrope",
                                frontends::in_quotes(type)));
  } else if (type == "linear") {
    const auto factor = home->own->number("factor", kFactor);
    if (!factor.ok()) return factor.status();
    for (double& f : *inv_freq) f /= *factor;
  } else if (type == "proportional") {
    const auto factor = home->own->number("factor", kFactor, 1.0);
    if (!factor.ok()) return factor.status();
    for (double& f : *inv_freq) f /= *factor;
  } else if (type == "dynamic") {
    home->own->mark_read("factor");
    config.note(
        fmt::format("{} is \"dynamic\", which is plain RoPE up to {} positions; the context is "
                    "limited to them",
                    home->own->name(type_field), max_positions));
  } else if (type == "llama3") {
    status = scale_llama3(*home, max_positions, *inv_freq);
  } else if (type == "yarn") {
    status = scale_yarn(*home, *base, *inv_freq, rope);
  } else if (type == "longrope" || type == "su") {
    status = scale_longrope(*home, fields.mscales, *inv_freq, rope);
  } else if (type != "default" && type != "mrope") {
    status = home->own->refuse(
        type_field, fmt::format("is {}, which is not supported; known: default, linear, dynamic, "
                                "llama3, yarn, longrope, proportional",
                                frontends::in_quotes(type)));
  }
  if (!status.ok()) return status;
  rope.inv_freq.assign(inv_freq->begin(), inv_freq->end());
  return rope;
}

}  // namespace sinter::models
