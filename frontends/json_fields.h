// Typed fields of JSON objects, for all that reads a configuration or metadata. Every error names
// the file and the field.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace sinter::frontends {

using Json = nlohmann::json;

struct IntRange {
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};
inline constexpr IntRange kPositive{1, std::numeric_limits<int64_t>::max()};
inline constexpr IntRange kNotNegative{0, std::numeric_limits<int64_t>::max()};

// Field `key` of `object`. A field that is absent is an error; so is one of another type or out of
// range:
//   config.json: "hidden_size" is "abc", expected a positive integer
absl::StatusOr<int64_t> get_int(const Json& object, std::string_view key, std::string_view file,
                                IntRange range = {});
absl::StatusOr<double> get_double(const Json& object, std::string_view key, std::string_view file,
                                  double min = std::numeric_limits<double>::lowest(),
                                  double max = std::numeric_limits<double>::max());
absl::StatusOr<bool> get_bool(const Json& object, std::string_view key, std::string_view file);
absl::StatusOr<std::string> get_string(const Json& object, std::string_view key,
                                       std::string_view file);
// The pointers point into `object`.
absl::StatusOr<const Json*> get_object(const Json& object, std::string_view key,
                                       std::string_view file);
absl::StatusOr<const Json*> get_array(const Json& object, std::string_view key,
                                      std::string_view file);

// As above; a field that is absent or null yields `fallback`.
absl::StatusOr<int64_t> get_int_or(const Json& object, std::string_view key, std::string_view file,
                                   int64_t fallback, IntRange range = {});
absl::StatusOr<double> get_double_or(const Json& object, std::string_view key,
                                     std::string_view file, double fallback,
                                     double min = std::numeric_limits<double>::lowest(),
                                     double max = std::numeric_limits<double>::max());
absl::StatusOr<bool> get_bool_or(const Json& object, std::string_view key, std::string_view file,
                                 bool fallback);
absl::StatusOr<std::string> get_string_or(const Json& object, std::string_view key,
                                          std::string_view file, std::string_view fallback);

// What a field holds, found by whoever calls; null when it is absent. `key` is what errors call it.
// The same errors.
absl::StatusOr<int64_t> as_int(const Json* value, std::string_view key, std::string_view file,
                               IntRange range = {});
absl::StatusOr<double> as_double(const Json* value, std::string_view key, std::string_view file,
                                 double min = std::numeric_limits<double>::lowest(),
                                 double max = std::numeric_limits<double>::max());
absl::StatusOr<bool> as_bool(const Json* value, std::string_view key, std::string_view file);
absl::StatusOr<std::string> as_string(const Json* value, std::string_view key,
                                      std::string_view file);
absl::StatusOr<const Json*> as_object(const Json* value, std::string_view key,
                                      std::string_view file);

// Null, or the field when it is present and not null.
const Json* find_field(const Json& object, std::string_view key);

// A value as an error shows it: scalars as written (cut when long), "an object", "an array of 3".
std::string describe(const Json& value);

}  // namespace sinter::frontends
