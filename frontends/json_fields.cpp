#include "frontends/json_fields.h"

#include <cmath>

#include "frontends/error_text.h"
#include "runtime/support/json_text.h"

namespace sinter::frontends {
namespace {

absl::Status wrong(std::string_view file, std::string_view key, const Json& found,
                   std::string_view expected) {
  return invalid("{}: {} is {}, expected {}", one_line(file), in_quotes(key), describe(found),
                 expected);
}

// The field, null when it is absent. Error: no object.
absl::StatusOr<const Json*> field_of(const Json& object, std::string_view key,
                                     std::string_view file) {
  if (!object.is_object()) {
    return invalid("{}: holds {}, expected an object with the field {}", one_line(file),
                   describe(object), in_quotes(key));
  }
  const auto field = object.find(key);
  return field == object.end() ? nullptr : &*field;
}

absl::Status missing(std::string_view file, std::string_view key, std::string_view expected) {
  return invalid("{}: {} is missing, expected {}", one_line(file), in_quotes(key), expected);
}

std::string expected_integer(IntRange range) {
  const bool open_end = range.max == std::numeric_limits<int64_t>::max();
  if (open_end && range.min == 1) return "a positive integer";
  if (open_end && range.min == 0) return "an integer of 0 or more";
  if (open_end && range.min == std::numeric_limits<int64_t>::min()) return "an integer";
  if (open_end) return fmt::format("an integer of {} or more", range.min);
  return fmt::format("an integer from {} to {}", range.min, range.max);
}

std::string expected_number(double min, double max) {
  const bool open_start = min == std::numeric_limits<double>::lowest();
  const bool open_end = max == std::numeric_limits<double>::max();
  if (open_start && open_end) return "a number";
  if (open_end) return fmt::format("a number of {} or more", min);
  if (open_start) return fmt::format("a number of {} or less", max);
  return fmt::format("a number from {} to {}", min, max);
}

}  // namespace

const Json* find_field(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto field = object.find(key);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_binary()) return "a long array";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_string()) return '"' + one_line(value.get_ref<const std::string&>(), 60) + '"';
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const auto number = value.get<double>();
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }
  return one_line(runtime::to_line(value), 60);
}

absl::StatusOr<int64_t> as_int(const Json* value, std::string_view key, std::string_view file,
                               IntRange range) {
  const std::string expected = expected_integer(range);
  if (value == nullptr) return missing(file, key, expected);
  // Unsigned is how the parser stores integers that are not negative, those above INT64_MAX
  // included.
  const bool fits =
      value->is_number_unsigned()
          ? value->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
          : value->is_number_integer();
  if (!fits) return wrong(file, key, *value, expected);
  const auto number = value->get<int64_t>();
  if (number < range.min || number > range.max) return wrong(file, key, *value, expected);
  return number;
}

absl::StatusOr<double> as_double(const Json* value, std::string_view key, std::string_view file,
                                 double min, double max) {
  const std::string expected = expected_number(min, max);
  if (value == nullptr) return missing(file, key, expected);
  if (!value->is_number()) return wrong(file, key, *value, expected);
  const auto number = value->get<double>();
  if (!std::isfinite(number) || number < min || number > max) {
    return wrong(file, key, *value, expected);
  }
  return number;
}

absl::StatusOr<bool> as_bool(const Json* value, std::string_view key, std::string_view file) {
  if (value == nullptr) return missing(file, key, "true or false");
  if (!value->is_boolean()) return wrong(file, key, *value, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> as_string(const Json* value, std::string_view key,
                                      std::string_view file) {
  if (value == nullptr) return missing(file, key, "a string");
  if (!value->is_string()) return wrong(file, key, *value, "a string");
  return value->get<std::string>();
}

absl::StatusOr<const Json*> as_object(const Json* value, std::string_view key,
                                      std::string_view file) {
  if (value == nullptr) return missing(file, key, "an object");
  if (!value->is_object()) return wrong(file, key, *value, "an object");
  return value;
}

absl::StatusOr<int64_t> get_int(const Json& object, std::string_view key, std::string_view file,
                                IntRange range) {
  const auto field = field_of(object, key, file);
  if (!field.ok()) return field.status();
  return as_int(*field, key, file, range);
}

absl::StatusOr<double> get_double(const Json& object, std::string_view key, std::string_view file,
                                  double min, double max) {
  const auto field = field_of(object, key, file);
  if (!field.ok()) return field.status();
  return as_double(*field, key, file, min, max);
}

absl::StatusOr<bool> get_bool(const Json& object, std::string_view key, std::string_view file) {
  const auto field = field_of(object, key, file);
  if (!field.ok()) return field.status();
  return as_bool(*field, key, file);
}

absl::StatusOr<std::string> get_string(const Json& object, std::string_view key,
                                       std::string_view file) {
  const auto field = field_of(object, key, file);
  if (!field.ok()) return field.status();
  return as_string(*field, key, file);
}

absl::StatusOr<const Json*> get_object(const Json& object, std::string_view key,
                                       std::string_view file) {
  const auto field = field_of(object, key, file);
  if (!field.ok()) return field.status();
  return as_object(*field, key, file);
}

absl::StatusOr<const Json*> get_array(const Json& object, std::string_view key,
                                      std::string_view file) {
  const auto field = field_of(object, key, file);
  if (!field.ok()) return field.status();
  if (*field == nullptr) return missing(file, key, "an array");
  if (!(*field)->is_array()) return wrong(file, key, **field, "an array");
  return *field;
}

absl::StatusOr<int64_t> get_int_or(const Json& object, std::string_view key, std::string_view file,
                                   int64_t fallback, IntRange range) {
  if (find_field(object, key) == nullptr) return fallback;
  return get_int(object, key, file, range);
}

absl::StatusOr<double> get_double_or(const Json& object, std::string_view key,
                                     std::string_view file, double fallback, double min,
                                     double max) {
  if (find_field(object, key) == nullptr) return fallback;
  return get_double(object, key, file, min, max);
}

absl::StatusOr<bool> get_bool_or(const Json& object, std::string_view key, std::string_view file,
                                 bool fallback) {
  if (find_field(object, key) == nullptr) return fallback;
  return get_bool(object, key, file);
}

absl::StatusOr<std::string> get_string_or(const Json& object, std::string_view key,
                                          std::string_view file, std::string_view fallback) {
  if (find_field(object, key) == nullptr) return std::string(fallback);
  return get_string(object, key, file);
}

}  // namespace sinter::frontends
