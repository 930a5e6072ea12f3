#include "tools/architectures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "models/user/entries.h"
#include "runtime/support/folder.h"
#include "tools/files.h"
#include "tools/model_input.h"

namespace sinter::tools {

using models::Family;
using runtime::Error;
using runtime::Result;

namespace {

Result<std::vector<Family>> families_of(const std::vector<std::string>& files) {
  std::vector<Family> all;
  for (const std::string& file : files) {
    auto read = models::read_entries(file);
    if (!read.ok()) return to_error(read.status());
    for (Family& family : *read) {
      const auto before = std::ranges::find(all, family.model_type, &Family::model_type);
      if (before != all.end())
        return Error{fmt::format("{}: is described before, by {}", family.entry->where,
                                 before->entry->where)};
      all.push_back(std::move(family));
    }
  }
  return all;
}

}  // namespace

std::optional<std::string> architectures_folder() {
  if (const auto config = absolute_variable("XDG_CONFIG_HOME"))
    return *config + "/sinter/architectures";
  if (const auto home = absolute_variable("HOME")) return *home + "/.config/sinter/architectures";
  return std::nullopt;
}

Result<std::vector<Family>> own_families(const std::vector<std::string>& files) {
  auto all = families_of(files);
  if (!all.ok()) return all.error();
  const auto folder = architectures_folder();
  if (!folder) return all;
  std::vector<std::string> configured;
  for (const std::string& name : runtime::names_in_folder(*folder))
    if (name.ends_with(".json")) configured.push_back(fmt::format("{}/{}", *folder, name));
  std::ranges::sort(configured);
  auto others = families_of(configured);
  if (!others.ok()) return others.error();
  for (Family& family : *others)
    if (std::ranges::find(*all, family.model_type, &Family::model_type) == all->end())
      all->push_back(std::move(family));
  return all;
}

}  // namespace sinter::tools
