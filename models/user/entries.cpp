#include "models/user/entries.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "frontends/error_text.h"
#include "frontends/json_file.h"
#include "frontends/near_names.h"
#include "models/blocks/flags.h"
#include "models/registry.h"
#include "runtime/support/source_files.h"

namespace sinter::models {

namespace {

using frontends::in_quotes;
using frontends::invalid;
using frontends::Json;

constexpr std::array<std::string_view, 8> kFields = {"model_type", "base",    "override", "fields",
                                                     "defaults",   "tensors", "skipped",  "blocks"};

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& known) {
  std::string text;
  for (const std::string_view one : frontends::near_names(name, known))
    text += (text.empty() ? "; did you mean " : ", ") + in_quotes(one);
  return text;
}

// Names are shown, and are names of files' fields: no white space, nothing that needs escapes.
bool is_plain(std::string_view text) {
  return !text.empty() && text.size() <= 100 && std::ranges::all_of(text, [](unsigned char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\';
  });
}

// A pattern of models/renames.h: components between dots, `^` before them.
bool is_pattern(std::string_view text) {
  if (text.starts_with('^')) text.remove_prefix(1);
  return is_plain(text) && !text.starts_with('.') && !text.ends_with('.') &&
         text.find("..") == std::string_view::npos && text.find('^') == std::string_view::npos;
}

// Components that are `*`.
size_t wildcards(std::string_view pattern) {
  if (pattern.starts_with('^')) pattern.remove_prefix(1);
  size_t count = 0;
  while (!pattern.empty()) {
    const size_t dot = std::min(pattern.find('.'), pattern.size());
    count += pattern.substr(0, dot) == "*" ? 1 : 0;
    pattern.remove_prefix(std::min(dot + 1, pattern.size()));
  }
  return count;
}

// One entry, field by field.
class EntryReader {
 public:
  EntryReader(const Json& entry, std::string where) : json_(entry), where_(std::move(where)) {}

  absl::StatusOr<Family> read(const std::string& model_type) {
    for (const auto& field : json_.items())
      if (std::ranges::find(kFields, field.key()) == kFields.end())
        return invalid(
            "{}: {} is no field of an entry{}; it has {}", where_, in_quotes(field.key()),
            did_you_mean(field.key(), {kFields.begin(), kFields.end()}), fmt::join(kFields, ", "));
    const auto base_name = frontends::get_string(json_, "base", where_);
    if (!base_name.ok()) return base_name.status();
    const Family* base = find_family(*base_name);
    if (base == nullptr) {
      std::vector<std::string_view> known;
      for (const Family& family : families()) known.push_back(family.model_type);
      return invalid("{}: \"base\" is {}, which is not built in{}; `sinter arch` lists what is",
                     where_, in_quotes(*base_name), did_you_mean(*base_name, known));
    }
    const auto replaces = frontends::get_bool_or(json_, "override", where_, false);
    if (!replaces.ok()) return replaces.status();
    const bool is_built_in = find_family(model_type) != nullptr;
    if (is_built_in && !*replaces)
      return invalid(
          "{}: \"model_type\" is built in; \"override\": true replaces what is known of it",
          where_);
    if (!is_built_in && *replaces)
      return invalid("{}: \"override\" is true, but no model_type that is built in is replaced",
                     where_);

    family_ = *base;
    family_.model_type = model_type;
    family_.golden = family_.phases = {};
    family_.entry = Entry{.where = where_, .base = *base_name};
    for (const auto step :
         {&EntryReader::read_fields, &EntryReader::read_defaults, &EntryReader::read_tensors,
          &EntryReader::read_skipped, &EntryReader::read_blocks})
      if (auto status = (this->*step)(); !status.ok()) return status;
    return std::move(family_);
  }

 private:
  // An empty object or list where the entry has none.
  absl::StatusOr<Json> object(std::string_view field) const {
    if (frontends::find_field(json_, field) == nullptr) return Json::object();
    const auto found = frontends::get_object(json_, field, where_);
    if (!found.ok()) return found.status();
    return **found;
  }
  absl::StatusOr<Json> list(std::string_view field) const {
    if (frontends::find_field(json_, field) == nullptr) return Json::array();
    const auto found = frontends::get_array(json_, field, where_);
    if (!found.ok()) return found.status();
    return **found;
  }
  absl::Status refuse(const std::string& field, const Json& value,
                      std::string_view expected) const {
    return invalid("{}: {} is {}, expected {}", where_, in_quotes(field),
                   frontends::describe(value), expected);
  }

  absl::Status read_fields() {
    const auto fields = object("fields");
    if (!fields.ok()) return fields.status();
    std::vector<Rename> rules;
    for (const auto& [from, to] : fields->items()) {
      if (!is_plain(from))
        return invalid("{}: \"fields\" has {}, expected the name of a field", where_,
                       in_quotes(from));
      if (!to.is_string() || !is_plain(to.get_ref<const std::string&>()))
        return refuse("fields." + from, to, "the name that \"base\" has for the field");
      if (from == "model_type" || to == "model_type")
        return invalid("{}: \"fields\" renames \"model_type\", which every configuration calls so",
                       where_);
      rules.push_back({from, to});
    }
    // First the entry's names become those of files of the base.
    family_.fields.insert(family_.fields.begin(), rules.begin(), rules.end());
    return absl::OkStatus();
  }

  absl::Status read_defaults() {
    const auto defaults = object("defaults");
    if (!defaults.ok()) return defaults.status();
    Json all = Json::parse(family_.defaults);
    for (const auto& [field, value] : defaults->items()) {
      if (field == "model_type" || field == "text_config" || value.is_null())
        return refuse("defaults." + field, value, "a value for a field of the model");
      std::string name = field;
      for (const Rename& rule : family_.fields)
        if (rule.from == name) name = rule.to;
      all[name] = value;
      family_.entry->defaults.push_back(name);
    }
    family_.defaults = all.dump();
    return absl::OkStatus();
  }

  absl::Status read_tensors() {
    const auto rules = list("tensors");
    if (!rules.ok()) return rules.status();
    std::vector<Rename> renames;
    for (size_t i = 0; i < rules->size(); ++i) {
      const Json& rule = (*rules)[i];
      const std::string field = fmt::format("tensors.{}", i);
      if (!rule.is_array() || rule.size() != 2 || !rule[0].is_string() || !rule[1].is_string())
        return refuse(field, rule, "a list of two texts, the run of a name and what stands for it");
      const Rename rename{rule[0], rule[1]};
      if (!is_pattern(rename.from))
        return refuse(field + ".0", rule[0], "components of a name between dots");
      if (!rename.to.empty() && rename.to != "^" && !is_pattern(rename.to))
        return refuse(field + ".1", rule[1], "components of a name between dots, or none");
      if (wildcards(rename.to) > wildcards(rename.from))
        return refuse(field + ".1", rule[1], "no more * than there are on the left side");
      renames.push_back(rename);
    }
    family_.tensors.insert(family_.tensors.begin(), renames.begin(), renames.end());
    return absl::OkStatus();
  }

  absl::Status read_skipped() {
    const auto names = list("skipped");
    if (!names.ok()) return names.status();
    for (size_t i = 0; i < names->size(); ++i) {
      const Json& name = (*names)[i];
      if (!name.is_string() || !is_pattern(name.get_ref<const std::string&>()))
        return refuse(fmt::format("skipped.{}", i), name, "components of a name between dots");
      family_.skipped.push_back(name);
    }
    return absl::OkStatus();
  }

  absl::Status read_blocks() {
    auto blocks = object("blocks");
    if (!blocks.ok()) return blocks.status();
    if (auto status = check_flags(*blocks, where_); !status.ok()) return status;
    family_.entry->blocks = *std::move(blocks);
    return absl::OkStatus();
  }

  const Json& json_;
  const std::string where_;
  Family family_;
};

}  // namespace

absl::StatusOr<std::vector<Family>> parse_entries(std::string_view text, const std::string& file) {
  auto json = frontends::parse_json(text, file);
  if (!json.ok()) return json.status();
  if (json->is_object()) json = Json::array({*std::move(json)});
  if (!json->is_array() || json->empty())
    return invalid("{}: is {}, expected an entry (an object) or a list of them", file,
                   frontends::describe(*json));
  std::vector<Family> all;
  for (size_t i = 0; i < json->size(); ++i) {
    const Json& entry = (*json)[i];
    const std::string place = fmt::format("{}: entry {}", file, i + 1);
    if (!entry.is_object())
      return invalid("{}: is {}, expected an object", place, frontends::describe(entry));
    const auto model_type = frontends::get_string(entry, "model_type", place);
    if (!model_type.ok()) return model_type.status();
    if (!is_plain(*model_type))
      return invalid("{}: \"model_type\" is {}, expected a name without white space", place,
                     in_quotes(*model_type));
    if (std::ranges::find(all, *model_type, &Family::model_type) != all.end())
      return invalid("{}: \"model_type\" is {}, which an entry before describes", place,
                     in_quotes(*model_type));
    auto family = EntryReader(entry, fmt::format("{}: entry {}", file, in_quotes(*model_type)))
                      .read(*model_type);
    if (!family.ok()) return family.status();
    all.push_back(*std::move(family));
  }
  return all;
}

absl::StatusOr<std::vector<Family>> read_entries(const std::string& path) {
  runtime::SourceFiles sources;
  const auto text = runtime::read_source(path, &sources);
  const std::string shown = frontends::one_line(path, 1000);
  if (!text.ok()) return invalid("{}: {}", shown, text.error().message);
  if (!text->has_value()) return absl::NotFoundError(fmt::format("{}: is not there", shown));
  auto all = parse_entries(**text, shown);
  if (!all.ok()) return all.status();
  for (Family& family : *all) family.entry->sources = sources;
  return all;
}

nlohmann::ordered_json entry_for(const std::string& model_type, const Likeness& like) {
  nlohmann::ordered_json entry;
  entry["model_type"] = model_type;
  entry["base"] = like.family->model_type;
  if (find_family(model_type) != nullptr) entry["override"] = true;
  entry["fields"] = nlohmann::ordered_json::object();
  for (const std::string& field : like.unread)
    if (is_plain(field) && field.find('.') == std::string::npos) entry["fields"][field] = field;
  entry["defaults"] = nlohmann::ordered_json::object();
  entry["tensors"] = nlohmann::ordered_json::array();
  for (const std::string& name : like.unused)
    if (is_pattern(name)) entry["tensors"].push_back({"^" + name, name});
  entry["skipped"] = nlohmann::ordered_json::array();
  entry["blocks"] = nlohmann::ordered_json::object();
  return entry;
}

}  // namespace sinter::models
