#include "models/generation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

#include "models/neutral_fields.h"

namespace sinter::models {

namespace {

// The value, or `otherwise` with a note that says what is wrong with it.
template <class T>
T value_or_note(const Config& config, const absl::StatusOr<T>& value, T otherwise) {
  if (value.ok()) return *value;
  std::string text(value.status().message());
  const std::string file = config.file() + ": ";
  if (text.starts_with(file)) text.erase(0, file.size());
  config.note(text + "; it is not applied");
  return otherwise;
}

}  // namespace

Generation read_generation(const Config& config) {
  Generation generation;
  // The likeliest token is taken: what draws among several has no meaning.
  const bool greedy = !value_or_note(config, config.flag("do_sample", true), true);
  if (greedy) {
    for (const char* field : {"temperature", "top_k", "top_p", "min_p", "typical_p", "top_h",
                              "epsilon_cutoff", "eta_cutoff"})
      config.mark_read(field);
  } else {
    generation.temperature =
        value_or_note(config, config.number("temperature", {0.0, 1e6}, -1.0), -1.0);
    generation.top_p = value_or_note(config, config.number("top_p", {0.0, 1.0}, -1.0), -1.0);
    generation.top_k =
        value_or_note<int64_t>(config, config.integer("top_k", {0, int64_t{1} << 30}, -1), -1);
  }
  if (const auto unread = config.unread(is_neutral_generation); !unread.empty())
    config.note(fmt::format("fields that are not applied: {}", fmt::join(unread, ", ")));
  return generation;
}

}  // namespace sinter::models
