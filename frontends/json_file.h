// JSON files and typed access to their fields. No exception leaves this file; every error names the
// file and the position or field.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "runtime/support/source_files.h"

namespace sinter::frontends {

using Json = nlohmann::json;

// Arrays and objects inside one another.
inline constexpr int kMaxJsonDepth = 64;

// NaN, Infinity and -Infinity are numbers, as Python writes them. Refuses, naming
// `file:line:column`: syntax errors, invalid UTF-8, nesting beyond kMaxJsonDepth, numbers that do
// not fit, and a key that occurs twice in one object, unless there are `notes`: then the last one
// counts, as in Python, and one note names such keys.
absl::StatusOr<Json> parse_json(std::string_view text, std::string_view file,
                                std::vector<std::string>* notes = nullptr);

// The whole file, which must hold a JSON object and is added to `sources`.
absl::StatusOr<Json> read_json_object(const std::filesystem::path& path,
                                      std::vector<std::string>* notes = nullptr,
                                      runtime::SourceFiles* sources = nullptr);

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

// Null, or the field when it is present and not null.
const Json* find_field(const Json& object, std::string_view key);

// A value as an error shows it: scalars as written (cut when long), "an object", "an array of 3".
std::string describe(const Json& value);

}  // namespace sinter::frontends
