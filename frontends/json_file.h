// Reading JSON. No exception leaves this file; every error names the file and the position.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/json_fields.h"
#include "runtime/support/source_files.h"

namespace sinter::frontends {

// Arrays and objects inside one another.
inline constexpr int kMaxJsonDepth = 64;

// NaN, Infinity and -Infinity are numbers, as Python writes them. Refuses, naming
// `file:line:column`: syntax errors, invalid UTF-8, nesting beyond kMaxJsonDepth, numbers that do
// not fit, and a key that occurs twice in one object, unless there are `notes`: then the last one
// counts, as in Python, and one note names such keys.
absl::StatusOr<Json> parse_json(std::string_view text, std::string_view file,
                                std::vector<std::string>* notes = nullptr);

// The whole file, which must hold a JSON object and is added to `sources`.
absl::StatusOr<Json> read_json_object(const std::filesystem::path& path,
                                      std::vector<std::string>* notes = nullptr,
                                      runtime::SourceFiles* sources = nullptr);

}  // namespace sinter::frontends
