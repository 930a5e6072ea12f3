#include "frontends/open/weight_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "frontends/error_text.h"
#include "frontends/json_file.h"
#include "frontends/torch/torch_file.h"
#include "runtime/support/folder.h"

namespace sinter::frontends {
namespace {

namespace fs = std::filesystem;

// A container of tensors.
struct Family {
  std::string_view extension;
  std::string_view main_stem;  // of "model.safetensors"
  absl::Status (*add)(const fs::path& file, TensorFiles& set);
};
constexpr std::array<Family, 2> kFamilies = {{
    {".safetensors", "model", add_safetensors},
    {".bin", "pytorch_model", add_torch_file},
}};

// Names that a model's file or its parts have, the likelier first. Mistral's own file stands beside
// the one of Hugging Face's names and holds the same tensors under others.
constexpr std::array<std::string_view, 3> kStems = {"model", "pytorch_model", "weights"};
constexpr std::string_view kLastStem = "consolidated";
// What training leaves in the folder of a model.
constexpr std::array<std::string_view, 5> kOtherStems = {"adapter", "optimizer", "rng_state",
                                                         "scheduler", "training_args"};

// Files that make one model by their names: one file, or numbered parts.
struct Group {
  std::string stem;
  int64_t parts = 0;                     // that there should be; 0: the name does not say
  std::map<int64_t, std::string> files;  // by number, from 0 or 1; a single file has 0

  // The first number that is missing.
  std::optional<int64_t> missing() const {
    if (files.empty()) return 1;
    const int64_t first = files.begin()->first == 0 ? 0 : 1;
    const int64_t count = parts > 0 ? parts : static_cast<int64_t>(files.size());
    for (int64_t i = first; i < first + count; ++i)
      if (!files.contains(i)) return i;
    return std::nullopt;
  }
  bool holds(std::string_view file) const {
    return std::any_of(files.begin(), files.end(),
                       [&](const auto& entry) { return entry.second == file; });
  }
};

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 9 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

int64_t number_of(std::string_view digits) {
  int64_t number = 0;
  for (const char digit : digits) number = number * 10 + (digit - '0');
  return number;
}

// Files the name under its stem: "S-00001-of-00002.EXT", "S.00.EXT" or "S.EXT".
void add_name(const std::string& name, std::string_view extension, std::vector<Group>& groups) {
  std::string_view stem = std::string_view(name).substr(0, name.size() - extension.size());
  int64_t number = 0;
  int64_t parts = 1;
  const size_t of = stem.rfind("-of-");
  const size_t dash = of == std::string_view::npos ? of : stem.rfind('-', of - 1);
  const size_t dot = stem.rfind('.');
  if (of != std::string_view::npos && of > 0 && dash != std::string_view::npos &&
      is_number(stem.substr(of + 4)) && is_number(stem.substr(dash + 1, of - dash - 1))) {
    parts = std::max<int64_t>(1, number_of(stem.substr(of + 4)));
    number = number_of(stem.substr(dash + 1, of - dash - 1));
    stem = stem.substr(0, dash);
  } else if (dot != std::string_view::npos && stem.size() - dot > 2 &&
             is_number(stem.substr(dot + 1))) {  // not the version in "phi-3.5"
    parts = 0;
    number = number_of(stem.substr(dot + 1));
    stem = stem.substr(0, dot);
  }
  for (Group& group : groups) {
    if (group.stem == stem && group.parts == parts && parts != 1) {
      group.files.emplace(number, name);
      return;
    }
  }
  groups.push_back({std::string(stem), parts, {{number, name}}});
}

bool is_model_file(const std::string& name, std::string_view extension) {
  return name.size() > extension.size() && !name.starts_with('.') && name.ends_with(extension) &&
         std::none_of(kOtherStems.begin(), kOtherStems.end(),
                      [&](std::string_view stem) { return name.starts_with(stem); });
}

// Sorted by their names.
std::vector<Group> find_groups(const fs::path& folder, std::string_view extension) {
  std::vector<Group> groups;
  for (const std::string& name : runtime::names_in_folder(folder.string())) {
    std::error_code ignored;
    if (is_model_file(name, extension) && !fs::is_directory(folder / name, ignored))
      add_name(name, extension, groups);
  }
  return groups;
}

// What an index of Hugging Face says: the file of every tensor.
using WeightMap = std::map<std::string, std::string>;

absl::StatusOr<WeightMap> read_index(const fs::path& index_file, std::string_view extension,
                                     runtime::SourceFiles* sources) {
  const std::string index_name = file_name(index_file);
  absl::StatusOr<Json> index = read_json_object(index_file, nullptr, sources);
  if (!index.ok()) return index.status();
  absl::StatusOr<const Json*> weight_map = get_object(*index, "weight_map", index_name);
  if (!weight_map.ok()) return weight_map.status();
  if ((*weight_map)->empty()) return invalid("{}: \"weight_map\" names no tensors", index_name);
  WeightMap map;
  for (const auto& field : (*weight_map)->items()) {
    absl::StatusOr<std::string> shard = get_string(**weight_map, field.key(), index_name);
    if (!shard.ok()) return shard.status();
    // A shard is a file beside the index: no folders, so that an index cannot reach out of its own.
    if (shard->find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        !shard->ends_with(extension)) {
      return invalid("{}: tensor {} is mapped to {}, expected the name of a {} file", index_name,
                     in_quotes(field.key()), in_quotes(*shard), extension);
    }
    map.emplace(field.key(), *std::move(shard));
  }
  return map;
}

// What was found in a folder.
struct Listing {
  const Family* family = nullptr;
  fs::path folder;
  std::vector<Group> groups;
  std::string index;  // the name of the index; empty: there is none
  WeightMap listed;   // empty when the index cannot be used
  absl::Status index_status;

  std::set<std::string> listed_files() const {
    std::set<std::string> files;
    for (const auto& [tensor, file] : listed) files.insert(file);
    return files;
  }
  bool is_there(std::string_view file) const {
    return std::any_of(groups.begin(), groups.end(),
                       [&](const Group& group) { return group.holds(file); });
  }
};

Listing list_folder(const fs::path& folder, const Family& family,
                    runtime::SourceFiles* sources = nullptr) {
  Listing listing{&family, folder, find_groups(folder, family.extension), {}, {}, {}};
  std::error_code error;
  for (const std::string_view stem :
       {family.main_stem, std::string_view("weights"), std::string_view(kLastStem)}) {
    const std::string name = fmt::format("{}{}.index.json", stem, family.extension);
    if (!fs::exists(folder / name, error)) continue;
    listing.index = name;
    auto map = read_index(folder / name, family.extension, sources);
    listing.index_status = map.status();
    if (map.ok()) listing.listed = *std::move(map);
    break;
  }
  return listing;
}

void add_files(const Group& group, std::set<std::string>& files) {
  for (const auto& [number, name] : group.files) files.insert(name);
}

// All that the index lists, and the parts of the same name that it does not know.
std::set<std::string> listed_and_their_parts(const Listing& listing) {
  std::set<std::string> files = listing.listed_files();
  for (const Group& group : listing.groups) {
    const bool touched = std::any_of(group.files.begin(), group.files.end(),
                                     [&](const auto& file) { return files.contains(file.second); });
    if (touched) add_files(group, files);
  }
  return files;
}

std::string part_text(const Group& group, int64_t number) {
  return group.parts > 0 ? fmt::format("part {} of {}", number, group.parts)
                         : fmt::format("part {}", number);
}

// Error: the index lists a file that is not there.
absl::Status check_listed(const Listing& listing) {
  for (const std::string& file : listing.listed_files()) {
    if (listing.is_there(file)) continue;
    return absl::NotFoundError(
        fmt::format("{}: the shard {} is missing; download it or repair the index", listing.index,
                    in_quotes(file)));
  }
  return absl::OkStatus();
}

// The files of a group. Error: a part is missing.
absl::StatusOr<std::set<std::string>> whole(const Listing& listing, const Group& group) {
  std::set<std::string> files;
  add_files(group, files);
  const auto missing = group.missing();
  if (!missing) return files;
  if (absl::Status status = check_listed(listing); !status.ok()) return status;
  return absl::NotFoundError(fmt::format("{}: {} is missing; all parts belong in one folder",
                                         *files.begin(), part_text(group, *missing)));
}

// The only group of this stem. Error: there are two, or the one is not whole.
absl::StatusOr<std::set<std::string>> of_stem(const Listing& listing, std::string_view stem) {
  std::vector<const Group*> complete;
  const Group* part = nullptr;
  for (const Group& group : listing.groups) {
    if (group.stem != stem) continue;
    if (group.missing()) {
      part = &group;
    } else {
      complete.push_back(&group);
    }
  }
  if (complete.size() > 1) {
    return invalid("{}: {} and {} could each be the model; name one of them, or remove the other",
                   one_line(listing.folder.string(), 1000), complete[0]->files.begin()->second,
                   complete[1]->files.begin()->second);
  }
  if (complete.empty() && part == nullptr) return std::set<std::string>();
  return whole(listing, complete.empty() ? *part : *complete[0]);
}

// By names alone.
absl::StatusOr<std::set<std::string>> choose_by_name(const Listing& listing) {
  for (const std::string_view stem : kStems) {
    auto files = of_stem(listing, stem);
    if (!files.ok() || !files->empty()) return files;
  }
  std::set<std::string> stems;
  bool is_listed = false;
  const std::set<std::string> listed = listing.listed_files();
  for (const Group& group : listing.groups) {
    stems.insert(group.stem);
    for (const auto& [number, file] : group.files) is_listed |= listed.contains(file);
  }
  if (stems.size() > 1) stems.erase(std::string(kLastStem));
  // One file is the model, unless the index says that it is one of several.
  if (stems.size() == 1 && !is_listed) return of_stem(listing, *stems.begin());
  if (!listing.index_status.ok()) return listing.index_status;
  if (absl::Status status = check_listed(listing); !status.ok()) return status;
  return invalid("{}: {} and others could each be the model; name one of them",
                 one_line(listing.folder.string(), 1000), *stems.begin());
}

absl::StatusOr<std::set<std::string>> choose(const Listing& listing, const std::string& named) {
  const std::set<std::string> listed = listing.listed_files();
  const bool all_there =
      !listed.empty() && std::all_of(listed.begin(), listed.end(), [&](const std::string& file) {
        return listing.is_there(file);
      });
  const std::set<std::string> by_index =
      all_there ? listed_and_their_parts(listing) : std::set<std::string>();
  if (!named.empty()) {
    if (by_index.contains(named)) return by_index;
    for (const Group& group : listing.groups)
      if (group.holds(named)) return whole(listing, group);
    return absl::NotFoundError(
        fmt::format("{}: no such file", one_line((listing.folder / named).string(), 1000)));
  }
  if (!all_there) return choose_by_name(listing);
  const std::string single =
      std::string(listing.family->main_stem) + std::string(listing.family->extension);
  if (!listing.is_there(single) || by_index.contains(single)) return by_index;
  return invalid(
      "{}: does not list {}, which is there too; remove the one that is out of date, or "
      "name the file",
      listing.index, single);
}

absl::StatusOr<WeightFiles> open_listing(const Listing& listing, const std::string& named) {
  const auto chosen = choose(listing, named);
  if (!chosen.ok()) return chosen.status();
  WeightFiles weights;
  for (const std::string& file : *chosen) {
    absl::Status status = listing.family->add(listing.folder / file, weights.files);
    if (!status.ok()) return status;
  }
  if (weights.files.tensors.empty()) return invalid("{}: holds no tensors", *chosen->begin());
  if (!listing.index_status.ok()) {
    weights.notes.push_back(
        fmt::format("{}; the index is ignored", std::string(listing.index_status.message())));
  }
  for (const auto& [tensor, file] : listing.listed) {
    if (weights.files.tensors.contains(tensor)) continue;
    weights.absent[tensor] =
        fmt::format("{} says that it is in {}, which {}", listing.index, in_quotes(file),
                    chosen->contains(file) ? "lacks it" : "is missing");
  }
  return weights;
}

}  // namespace

absl::StatusOr<WeightFiles> open_weight_files(const fs::path& folder, const fs::path& named,
                                              runtime::SourceFiles* sources) {
  const bool one = named != folder;
  for (const Family& family : kFamilies) {
    if (one && absl::AsciiStrToLower(named.extension().string()) != family.extension) continue;
    const Listing listing = list_folder(folder, family, sources);
    if (listing.groups.empty() && listing.listed.empty() && listing.index_status.ok()) continue;
    return open_listing(listing, one ? named.filename().string() : std::string());
  }
  return absl::NotFoundError(
      fmt::format("{}: neither model.safetensors, model.safetensors.index.json, a .gguf file nor "
                  "pytorch_model.bin is there",
                  one_line(folder.string(), 1000)));
}

bool has_safetensors(const fs::path& folder) {
  const Listing listing = list_folder(folder, kFamilies[0]);
  return !listing.index.empty() ||
         std::any_of(listing.groups.begin(), listing.groups.end(), [](const Group& group) {
           return std::find(kStems.begin(), kStems.end(), group.stem) != kStems.end();
         });
}

}  // namespace sinter::frontends
