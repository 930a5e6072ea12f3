#include "frontends/rotation.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

constexpr std::string_view kPrefix = kRotationKeys;
constexpr std::array<std::string_view, 11> kKnown = {
    "version",       "transform",    "axis",
    "sign_mode",     "block_size",   "sign_widths",
    "sign_values",   "weight_names", "inverse_weight_names",
    "gdn_v_grouped", "tied_output"};
// Features of all widths together: far more than any model has.
constexpr int64_t kMostFeatures = int64_t{1} << 24;

// What has a meaning that is not known would change results.
absl::Status check_keys(const Json& contract, const std::string& file) {
  for (const auto& field : contract.items()) {
    std::string_view key = field.key();
    if (!key.starts_with(kPrefix)) continue;
    key.remove_prefix(kPrefix.size());
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end())
      return invalid("{}: {} is not known; known are \"{}\" with {}", file, in_quotes(field.key()),
                     kPrefix, fmt::join(kKnown, ", "));
  }
  return absl::OkStatus();
}

// A key that has one of these values.
absl::Status expect(const Json& contract, const std::string& file, const char* name,
                    std::initializer_list<Json> values) {
  const std::string key = std::string(kPrefix) + name;
  const Json* found = find_field(contract, key);
  std::string known;
  for (const Json& value : values) {
    if (found != nullptr && *found == value) return absl::OkStatus();
    known += (known.empty() ? "" : " or ") + value.dump();
  }
  return invalid("{}: {} is {}; supported is {}", file, in_quotes(key),
                 found == nullptr ? "missing" : describe(*found), known);
}

absl::StatusOr<const Json*> list(const Json& contract, const std::string& file, const char* name) {
  const std::string key = std::string(kPrefix) + name;
  const Json* found = find_field(contract, key);
  if (found == nullptr || !found->is_array())
    return invalid("{}: {} is {}, expected a list", file, in_quotes(key),
                   found == nullptr ? "missing" : describe(*found));
  return found;
}

absl::Status read_names(const Json& contract, const std::string& file, const char* name,
                        const std::function<std::string(std::string_view)>& key_of,
                        std::set<std::string, std::less<>>& out) {
  const auto names = list(contract, file, name);
  if (!names.ok()) return names.status();
  for (const Json& tensor : **names) {
    const std::string key = tensor.is_string() ? key_of(tensor.get<std::string>()) : "";
    if (key.empty())
      return invalid("{}: \"{}{}\" has {}, and there is no such tensor", file, kPrefix, name,
                     describe(tensor));
    out.insert(key);
  }
  return absl::OkStatus();
}

absl::Status read_signs(const Json& contract, const std::string& file, Rotation& rotation) {
  const auto widths = list(contract, file, "sign_widths");
  if (!widths.ok()) return widths.status();
  const Json* mode = find_field(contract, std::string(kPrefix) + "sign_mode");
  const bool identity = mode != nullptr && *mode == "identity";
  const Json nothing = Json::array();
  absl::StatusOr<const Json*> values = &nothing;
  if (!identity) values = list(contract, file, "sign_values");
  if (!values.ok()) return values.status();
  size_t at = 0;
  int64_t features = 0;
  for (const Json& width : **widths) {
    if (!width.is_number_integer() || width <= 0 || width > kMostFeatures - features ||
        width.get<int64_t>() % rotation.block != 0)
      return invalid(
          "{}: \"{}sign_widths\" has {}, expected multiples of the block of {}, {} at most "
          "together",
          file, kPrefix, describe(width), rotation.block, kMostFeatures);
    features += width.get<int64_t>();
    std::vector<float>& signs = rotation.signs[width.get<int64_t>()];
    if (!signs.empty())
      return invalid("{}: \"{}sign_widths\" has {} twice", file, kPrefix, describe(width));
    for (int64_t i = 0; i < width.get<int64_t>(); ++i, ++at) {
      if (identity) {
        signs.push_back(1);
        continue;
      }
      const Json* sign = at < (*values)->size() ? &(**values)[at] : nullptr;
      if (sign == nullptr || (*sign != 1 && *sign != -1))
        return invalid("{}: \"{}sign_values\" has {} at {}, expected 1 or -1 for each feature",
                       file, kPrefix, sign == nullptr ? "nothing" : describe(*sign), at);
      signs.push_back(sign->get<float>());
    }
  }
  if (at != (*values)->size() && !identity)
    return invalid("{}: \"{}sign_values\" has {} signs, the widths need {}", file, kPrefix,
                   (*values)->size(), at);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Rotation> read_rotation(const Json& contract, const std::string& file,
                                       const std::function<std::string(std::string_view)>& key_of) {
  Rotation rotation;
  for (const absl::Status& status :
       {check_keys(contract, file), expect(contract, file, "version", {1, 2}),
        expect(contract, file, "transform", {"normalized-sylvester-walsh-hadamard"}),
        expect(contract, file, "axis", {"input-last-dimension"}),
        expect(contract, file, "sign_mode", {"explicit", "identity"})})
    if (!status.ok()) return status;
  const auto block =
      get_int(contract, std::string(kPrefix) + "block_size", file, {2, int64_t{1} << 16});
  if (!block.ok()) return block.status();
  if ((*block & (*block - 1)) != 0)
    return invalid("{}: \"{}block_size\" is {}, expected a power of two", file, kPrefix, *block);
  rotation.block = *block;
  if (absl::Status status = read_signs(contract, file, rotation); !status.ok()) return status;
  absl::Status status = read_names(contract, file, "weight_names", key_of, rotation.matrices);
  if (!status.ok()) return status;
  status = read_names(contract, file, "inverse_weight_names", key_of, rotation.tables);
  if (!status.ok()) return status;
  const auto grouped = get_bool_or(contract, std::string(kPrefix) + "gdn_v_grouped", file, false);
  if (!grouped.ok()) return grouped.status();
  rotation.grouped_heads = *grouped;
  const auto tied = get_bool_or(contract, std::string(kPrefix) + "tied_output", file, false);
  if (!tied.ok()) return tied.status();
  rotation.tied_output = *tied;
  return rotation;
}

}  // namespace sinter::frontends
