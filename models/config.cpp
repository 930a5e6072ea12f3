#include "models/config.h"

#include <algorithm>
#include <utility>

#include "frontends/json_file.h"

namespace sinter::models {

using frontends::Json;

namespace {

// The number that a text is, as JSON writes numbers; null when it is none.
Json number_in(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string::npos) return {};
  const auto number = frontends::parse_json(text, "");
  return number.ok() && number->is_number() ? *number : Json();
}

}  // namespace

Config::Config(const Json& fields, std::string file, FieldNames names, Json defaults)
    : fields_(&fields),
      record_(std::make_shared<Record>(
          Record{std::move(file), std::move(names), std::move(defaults), {}, {}, {}})) {}

bool Config::has(std::string_view field) const {
  return frontends::find_field(*fields_, field) != nullptr;
}

bool Config::is_null(std::string_view field) const {
  const auto found = fields_->find(field);
  return found != fields_->end() && found->is_null();
}

const Json* Config::find(std::string_view field) const {
  mark_read(field);
  if (const Json* value = frontends::find_field(*fields_, field); value != nullptr) return value;
  return prefix_.empty() ? frontends::find_field(record_->defaults, field) : nullptr;
}

std::string Config::shown(std::string_view field) const {
  const auto found = record_->names.find(path(field));
  return found == record_->names.end() ? path(field) : found->second;
}

std::string Config::name(std::string_view field) const {
  return frontends::in_quotes(shown(field));
}

absl::Status Config::refuse(std::string_view field, std::string_view what) const {
  return frontends::invalid("{}: {} {}", file(), name(field), what);
}

void Config::note(std::string_view text) const {
  std::string line = fmt::format("{}: {}", file(), text);
  auto& notes = record_->notes;
  if (std::find(notes.begin(), notes.end(), line) == notes.end()) notes.push_back(std::move(line));
}

const std::string& Config::file() const { return record_->file; }
const std::vector<std::string>& Config::notes() const { return record_->notes; }
void Config::mark_read(std::string_view field) const { record_->read.insert(path(field)); }
bool Config::was_read(std::string_view field) const { return record_->read.contains(path(field)); }

void Config::derive(std::string_view field, const Json& value) const {
  record_->defaults[std::string(field)] = value;
}

const Json* Config::find_number(std::string_view field, Json& storage) const {
  const Json* value = find(field);
  if (value == nullptr || !value->is_string()) return value;
  storage = number_in(value->get_ref<const std::string&>());
  if (storage.is_null()) return value;
  note(fmt::format("{} is the string {}; it is read as a number", name(field),
                   frontends::describe(*value)));
  return &storage;
}

absl::StatusOr<int64_t> Config::integer(std::string_view field, frontends::IntRange range,
                                        std::optional<int64_t> otherwise) const {
  Json storage;
  const Json* value = find_number(field, storage);
  if (value == nullptr && otherwise) return *otherwise;
  return frontends::as_int(value, shown(field), file(), range);
}

absl::StatusOr<double> Config::number(std::string_view field, NumberRange range,
                                      std::optional<double> otherwise) const {
  Json storage;
  const Json* value = find_number(field, storage);
  if (value == nullptr && otherwise) return *otherwise;
  return frontends::as_double(value, shown(field), file(), range.min, range.max);
}

absl::StatusOr<bool> Config::flag(std::string_view field, std::optional<bool> otherwise) const {
  const Json* value = find(field);
  if (value == nullptr && otherwise) return *otherwise;
  return frontends::as_bool(value, shown(field), file());
}

absl::StatusOr<std::string> Config::text(std::string_view field,
                                         std::optional<std::string> otherwise) const {
  const Json* value = find(field);
  if (value == nullptr && otherwise) return *std::move(otherwise);
  return frontends::as_string(value, shown(field), file());
}

absl::StatusOr<const Json*> Config::list(std::string_view field, int64_t count,
                                         std::string_view of) const {
  const Json* value = find(field);
  if (value == nullptr)
    return refuse(field, fmt::format("is missing, expected a list of {} {}", count, of));
  if (!value->is_array() || static_cast<int64_t>(value->size()) != count)
    return refuse(field, fmt::format("is {}, expected a list of {} {}", frontends::describe(*value),
                                     count, of));
  return value;
}

// The entries of a list, each read by `as`.
template <class T, class As>
static absl::StatusOr<std::vector<T>> entries(const absl::StatusOr<const Json*>& list,
                                              std::string_view shown, const As& as) {
  if (!list.ok()) return list.status();
  std::vector<T> out;
  for (size_t i = 0; i < (*list)->size(); ++i) {
    const absl::StatusOr<T> entry = as(&(**list)[i], fmt::format("{}.{}", shown, i));
    if (!entry.ok()) return entry.status();
    out.push_back(*entry);
  }
  return out;
}

absl::StatusOr<std::vector<int64_t>> Config::integers(std::string_view field, int64_t count,
                                                      frontends::IntRange range) const {
  return entries<int64_t>(list(field, count, "integers"), shown(field),
                          [&](const Json* value, const std::string& key) {
                            return frontends::as_int(value, key, file(), range);
                          });
}

absl::StatusOr<std::vector<double>> Config::numbers(std::string_view field, int64_t count) const {
  return entries<double>(
      list(field, count, "numbers"), shown(field), [&](const Json* value, const std::string& key) {
        return frontends::as_double(value, key, file(), NumberRange().min, NumberRange().max);
      });
}

absl::StatusOr<std::vector<std::string>> Config::texts(std::string_view field,
                                                       int64_t count) const {
  return entries<std::string>(list(field, count, "texts"), shown(field),
                              [&](const Json* value, const std::string& key) {
                                return frontends::as_string(value, key, file());
                              });
}

absl::StatusOr<Config> Config::section(std::string_view field) const {
  const auto fields = frontends::as_object(find(field), shown(field), file());
  if (!fields.ok()) return fields.status();
  record_->sections.insert(path(field));
  return Config(**fields, path(field) + ".", record_);
}

std::vector<std::string> Config::unread(bool (*neutral)(std::string_view, const Json&)) const {
  std::vector<std::string> out;
  for (const auto& field : fields_->items()) {
    const std::string at = path(field.key());
    if (field.value().is_null()) continue;
    if (record_->sections.contains(at)) {
      for (std::string& inner : Config(field.value(), at + ".", record_).unread(neutral))
        out.push_back(std::move(inner));
    } else if (!record_->read.contains(at) && !neutral(at, field.value())) {
      out.push_back(fmt::format("{} ({})", name(field.key()), frontends::describe(field.value())));
    }
  }
  return out;
}

}  // namespace sinter::models
