#include "frontends/near_names.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

namespace sinter::frontends {
namespace {

constexpr int kMaxDistance = 3;
constexpr size_t kMaxLength =
    256;  // longer names are not compared, so that a hostile file costs little

// Levenshtein distance, or kMaxDistance + 1 when it is larger than kMaxDistance.
int edit_distance(std::string_view a, std::string_view b) {
  if (a.size() > kMaxLength || b.size() > kMaxLength ||
      std::max(a.size(), b.size()) - std::min(a.size(), b.size()) > kMaxDistance) {
    return kMaxDistance + 1;
  }
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
    if (*std::min_element(row.begin(), row.end()) > kMaxDistance) return kMaxDistance + 1;
  }
  return std::min(row.back(), kMaxDistance + 1);
}

// Whether one name is the other with leading components ("a.b" and "x.a.b"), or vice versa.
bool same_suffix(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return !a.empty() && b.size() > a.size() && b.ends_with(a) && b[b.size() - a.size() - 1] == '.';
}

// Whether the names agree after their first component ("transformer.h.0.ln" and "model.h.0.ln").
bool same_after_first_component(std::string_view a, std::string_view b) {
  const size_t dot_a = a.find('.');
  const size_t dot_b = b.find('.');
  return dot_a != std::string_view::npos && dot_b != std::string_view::npos &&
         a.substr(dot_a) == b.substr(dot_b);
}

}  // namespace

std::vector<std::string_view> near_names(std::string_view wanted,
                                         absl::Span<const std::string_view> names, size_t limit) {
  std::string_view stem = wanted;
  if (stem.ends_with(".weight")) stem.remove_suffix(std::string_view(".weight").size());
  std::vector<std::pair<int, std::string_view>> found;
  for (const std::string_view name : names) {
    int score = name == stem ? 0 : edit_distance(wanted, name);
    if (score > kMaxDistance && !same_suffix(stem, name) &&
        !same_after_first_component(stem, name)) {
      continue;
    }
    found.emplace_back(score, name);
  }
  std::sort(found.begin(), found.end());
  if (found.size() > limit) found.resize(limit);
  std::vector<std::string_view> result;
  for (const auto& [score, name] : found) result.push_back(name);
  return result;
}

}  // namespace sinter::frontends
