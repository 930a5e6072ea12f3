// The configuration of a model: typed fields with the defaults of its family. Errors speak the
// language of the file that it came from, and what nobody read can be named.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/error_text.h"
#include "frontends/json_fields.h"

namespace sinter::models {

// What a file calls the fields: by path, "rope_scaling.factor" or "eos_token_id.0", where it has
// another name for one. The keys of a GGUF file.
using FieldNames = std::map<std::string, std::string, std::less<>>;

struct NumberRange {
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
};

class Config {
 public:
  // `fields` must outlive the configuration and its sections. `defaults`: an object with what
  // fields are that the file does not mention.
  explicit Config(const nlohmann::json& fields, std::string file = "config.json",
                  FieldNames names = {}, nlohmann::json defaults = nlohmann::json::object());

  // Whether the file says something for the field, null not counted.
  bool has(std::string_view field) const;
  // Whether the file says null, which is for some fields not the same as saying nothing.
  bool is_null(std::string_view field) const;
  // What the file says, else the default; nullptr for neither. Counts as reading.
  const nlohmann::json* find(std::string_view field) const;

  // A field of the right type and range, else `otherwise` when neither the file nor the defaults
  // have it. Text that is a number is read as that number, with a note. Errors:
  //   config.json: "rope_scaling.factor" is -2, expected a number from 1 to 1000000
  absl::StatusOr<int64_t> integer(std::string_view field, frontends::IntRange range,
                                  std::optional<int64_t> otherwise = {}) const;
  absl::StatusOr<double> number(std::string_view field, NumberRange range,
                                std::optional<double> otherwise = {}) const;
  absl::StatusOr<bool> flag(std::string_view field, std::optional<bool> otherwise = {}) const;
  absl::StatusOr<std::string> text(std::string_view field,
                                   std::optional<std::string> otherwise = {}) const;
  // A list of so many numbers, flags or texts.
  absl::StatusOr<std::vector<int64_t>> integers(std::string_view field, int64_t count,
                                                frontends::IntRange range) const;
  absl::StatusOr<std::vector<double>> numbers(std::string_view field, int64_t count) const;
  absl::StatusOr<std::vector<std::string>> texts(std::string_view field, int64_t count) const;
  // The fields of an object, whose paths begin with `field`. Error: no object.
  absl::StatusOr<Config> section(std::string_view field) const;

  // The field as its file calls it; `name`: in quotes.
  std::string shown(std::string_view field) const;
  std::string name(std::string_view field) const;
  // `config.json: "field" <what>`
  absl::Status refuse(std::string_view field, std::string_view what) const;
  // A note for the user, once: `config.json: <text>`
  void note(std::string_view text) const;

  const nlohmann::json& fields() const { return *fields_; }
  const std::string& file() const;
  // Notes so far.
  const std::vector<std::string>& notes() const;
  // `"field" (value)` of every field that is there, not null, not neutral and was not read. Those
  // of sections come with their path.
  std::vector<std::string> unread(bool (*neutral)(std::string_view path,
                                                  const nlohmann::json& value)) const;
  void mark_read(std::string_view field) const;
  bool was_read(std::string_view field) const;
  // Sets the default of a field.
  void derive(std::string_view field, const nlohmann::json& value) const;

 private:
  // Shared by a configuration and its sections.
  struct Record {
    std::string file;
    FieldNames names;
    nlohmann::json defaults;
    std::set<std::string, std::less<>> read, sections;
    std::vector<std::string> notes;
  };
  Config(const nlohmann::json& fields, std::string prefix, std::shared_ptr<Record> record)
      : fields_(&fields), prefix_(std::move(prefix)), record_(std::move(record)) {}

  // A list with `count` entries. Error: there is none, or it is none of these.
  absl::StatusOr<const nlohmann::json*> list(std::string_view field, int64_t count,
                                             std::string_view of) const;
  // As `find`. Text that is a number becomes that number, in `storage`, with a note.
  const nlohmann::json* find_number(std::string_view field, nlohmann::json& storage) const;
  std::string path(std::string_view field) const { return prefix_ + std::string(field); }

  const nlohmann::json* fields_;
  std::string prefix_;
  std::shared_ptr<Record> record_;
};

}  // namespace sinter::models
