#include "models/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "frontends/json_file.h"

namespace sinter::models {

namespace {

using frontends::Json;
constexpr const char* kFile = "config.json";

// inv_freq[i] = base^(-2i/dims)
std::vector<double> plain(double base, int64_t dims) {
  std::vector<double> out;
  for (int64_t i = 0; i < dims; i += 2)
    out.push_back(1.0 / std::pow(base, static_cast<double>(i) / static_cast<double>(dims)));
  return out;
}

// Long wavelengths are stretched by `factor`, short ones kept, those between are blended.
absl::Status scale_llama3(const Json& p, std::vector<double>& inv_freq) {
  const auto factor = frontends::get_double(p, "factor", kFile, 1e-3, 1e6);
  const auto low = frontends::get_double(p, "low_freq_factor", kFile, 1e-3, 1e6);
  const auto high = frontends::get_double(p, "high_freq_factor", kFile, 1e-3, 1e6);
  const auto original =
      frontends::get_int(p, "original_max_position_embeddings", kFile, frontends::kPositive);
  for (const absl::Status& status :
       {factor.status(), low.status(), high.status(), original.status()})
    if (!status.ok()) return status;
  if (*high <= *low)
    return absl::InvalidArgumentError(fmt::format(
        "{}: \"high_freq_factor\" {} must be above \"low_freq_factor\" {}", kFile, *high, *low));
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
absl::Status divide_by_factors(const Json& p, std::vector<double>& inv_freq) {
  constexpr const char* kKey = "frequency_factors";
  if (frontends::find_field(p, kKey) == nullptr) return absl::OkStatus();
  const auto factors = frontends::get_array(p, kKey, kFile);
  if (!factors.ok()) return factors.status();
  if ((*factors)->size() != inv_freq.size())
    return absl::InvalidArgumentError(
        fmt::format("{}: \"{}\" has {} numbers, RoPE rotates {} pairs", kFile, kKey,
                    (*factors)->size(), inv_freq.size()));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const Json& factor = (**factors)[i];
    // Written so that a NaN fails too.
    if (!factor.is_number() || !(factor.get<double>() > 0 && factor.get<double>() <= 1e9))
      return absl::InvalidArgumentError(fmt::format("{}: \"{}\" has {}, expected positive numbers",
                                                    kFile, kKey, frontends::describe(factor)));
    inv_freq[i] /= factor.get<double>();
  }
  return absl::OkStatus();
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

absl::Status scale_yarn(const Json& p, double base, int64_t max_positions,
                        std::vector<double>& inv_freq, double& scale) {
  const auto factor = frontends::get_double(p, "factor", kFile, 1.0, 1e6);
  const auto beta_fast = frontends::get_double_or(p, "beta_fast", kFile, 32.0, 1e-3, 1e6);
  const auto beta_slow = frontends::get_double_or(p, "beta_slow", kFile, 1.0, 1e-3, 1e6);
  const auto original = frontends::get_int_or(p, "original_max_position_embeddings", kFile,
                                              max_positions, frontends::kPositive);
  const auto truncate = frontends::get_bool_or(p, "truncate", kFile, true);
  const auto mscale = frontends::get_double_or(p, "mscale", kFile, 0.0);
  const auto mscale_all_dim = frontends::get_double_or(p, "mscale_all_dim", kFile, 0.0);
  const double by_default = factor.ok() ? yarn_mscale(*factor, 1.0) : 1.0;
  const auto attention_factor = frontends::get_double_or(p, "attention_factor", kFile, -1.0);
  for (const absl::Status& status :
       {factor.status(), beta_fast.status(), beta_slow.status(), original.status(),
        truncate.status(), mscale.status(), mscale_all_dim.status(), attention_factor.status()})
    if (!status.ok()) return status;

  if (*attention_factor > 0) {
    scale = *attention_factor;
  } else if (*mscale != 0 && *mscale_all_dim != 0) {
    scale = yarn_mscale(*factor, *mscale) / yarn_mscale(*factor, *mscale_all_dim);
  } else {
    scale = by_default;
  }

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

}  // namespace

absl::StatusOr<Rope> read_rope(const nlohmann::json& config, int64_t head_dim,
                               int64_t max_positions) {
  const Json* scaling = frontends::find_field(config, "rope_scaling");
  const Json* parameters = frontends::find_field(config, "rope_parameters");
  const char* field = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  static const Json none = Json::object();
  const Json& p = parameters != nullptr ? *parameters : scaling != nullptr ? *scaling : none;
  if (!p.is_object())
    return absl::InvalidArgumentError(
        fmt::format("{}: \"{}\" is {}, expected an object", kFile, field, frontends::describe(p)));

  const Json& theta_home = frontends::find_field(p, "rope_theta") != nullptr ? p : config;
  const auto base =
      frontends::get_double_or(theta_home, "rope_theta", kFile, 10000.0, 1.0 + 1e-6, 1e15);
  if (!base.ok()) return base.status();
  const Json& partial_home =
      frontends::find_field(p, "partial_rotary_factor") != nullptr ? p : config;
  const auto partial =
      frontends::get_double_or(partial_home, "partial_rotary_factor", kFile, 1.0, 0.0, 1.0);
  if (!partial.ok()) return partial.status();
  const auto dims = static_cast<int64_t>(static_cast<double>(head_dim) * *partial) / 2 * 2;
  if (dims < 2)
    return absl::InvalidArgumentError(
        fmt::format("{}: a head_dim of {} leaves nothing to rotate", kFile, head_dim));

  const char* type_key = frontends::find_field(p, "rope_type") != nullptr ? "rope_type" : "type";
  const auto type = frontends::get_string_or(p, type_key, kFile, "default");
  if (!type.ok()) return type.status();

  std::vector<double> inv_freq = plain(*base, dims);
  Rope rope;
  absl::Status status = divide_by_factors(p, inv_freq);
  if (!status.ok()) return status;
  if (*type == "linear") {
    const auto factor = frontends::get_double(p, "factor", kFile, 1e-3, 1e6);
    if (!factor.ok()) return factor.status();
    for (double& f : inv_freq) f /= *factor;
  } else if (*type == "llama3") {
    status = scale_llama3(p, inv_freq);
  } else if (*type == "yarn") {
    status = scale_yarn(p, *base, max_positions, inv_freq, rope.scale);
  } else if (*type != "default") {
    status = absl::InvalidArgumentError(fmt::format(
        "{}: \"{}.{}\" is \"{}\", which is not supported; known: default, linear, llama3, yarn",
        kFile, field, type_key, *type));
  }
  if (!status.ok()) return status;
  rope.inv_freq.assign(inv_freq.begin(), inv_freq.end());
  return rope;
}

}  // namespace sinter::models
