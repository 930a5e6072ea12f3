// Pieces of error messages: every one of them stays on one line, whatever bytes the input file
// holds.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace sinter::frontends {

// Names from a file: control characters escaped, long text cut with "...". `one_line` adds no
// quotes.
std::string one_line(std::string_view text, size_t max_length = 160);
std::string in_quotes(std::string_view text);

// Up to five of the texts in quotes, then "...": `"a", "b"`.
template <class Texts>
std::string some_quoted(const Texts& texts) {
  constexpr size_t kShown = 5;
  std::string out;
  size_t count = 0;
  for (const auto& text : texts) {
    if (count == kShown) return out + ", ...";
    out += (count++ == 0 ? "" : ", ") + in_quotes(text);
  }
  return out;
}

// "548,760"
std::string with_commas(uint64_t number);

// "[256, 48]"
std::string shape_text(absl::Span<const int64_t> shape);

// The last component, which is how messages about a file's content name the file.
std::string file_name(const std::filesystem::path& path);

template <class... Args>
absl::Status invalid(fmt::format_string<Args...> format, Args&&... args) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace sinter::frontends
