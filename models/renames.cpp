#include "models/renames.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace sinter::models {

namespace {

using Components = std::vector<std::string>;

Components split(std::string_view name) {
  Components components;
  while (!name.empty()) {
    const size_t dot = std::min(name.find('.'), name.size());
    components.emplace_back(name.substr(0, dot));
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  return components;
}

bool fits(const Components& pattern, const Components& name, size_t at) {
  if (at + pattern.size() > name.size()) return false;
  for (size_t i = 0; i < pattern.size(); ++i)
    if (pattern[i] != "*" && pattern[i] != name[at + i]) return false;
  return true;
}

void apply(std::string_view from, std::string_view to, Components& name) {
  const bool at_begin = from.starts_with('^') || to.starts_with('^');
  if (from.starts_with('^')) from.remove_prefix(1);
  if (to.starts_with('^')) to.remove_prefix(1);
  const Components pattern = split(from);
  for (size_t at = 0; at <= (at_begin ? 0 : name.size()); ++at) {
    if (!fits(pattern, name, at)) continue;
    Components wild;
    for (size_t i = 0; i < pattern.size(); ++i)
      if (pattern[i] == "*") wild.push_back(name[at + i]);
    Components put = split(to);
    size_t next = 0;
    for (std::string& component : put)
      if (component == "*" && next < wild.size()) component = wild[next++];
    const auto begin = name.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = begin + static_cast<std::ptrdiff_t>(pattern.size());
    name.insert(name.erase(begin, end), put.begin(), put.end());
    return;
  }
}

}  // namespace

bool matches(std::string_view name, std::string_view from) {
  const bool at_begin = from.starts_with('^');
  if (at_begin) from.remove_prefix(1);
  const Components components = split(name);
  const Components pattern = split(from);
  for (size_t at = 0; at <= (at_begin ? 0 : components.size()); ++at)
    if (fits(pattern, components, at)) return true;
  return false;
}

std::string rename(std::string_view name, std::span<const Rename> rules) {
  Components components = split(name);
  for (const Rename& rule : rules) apply(rule.from, rule.to, components);
  return fmt::format("{}", fmt::join(components, "."));
}

std::string rename_back(std::string_view name, std::span<const Rename> rules) {
  Components components = split(name);
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    // What leaves nothing behind, or has no name here, is in no name.
    if (rule->to.empty() || rule->to == "^") continue;
    const std::string at_begin = rule->from.starts_with('^') ? "^" + rule->to : rule->to;
    apply(at_begin, rule->from, components);
  }
  return fmt::format("{}", fmt::join(components, "."));
}

}  // namespace sinter::models
