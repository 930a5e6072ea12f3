// Architectures that a user describes: JSON entries, each of which starts from a family of the
// registry and says where the files differ. docs/own-architectures.md says what is in one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "models/family.h"
#include "models/likeness.h"

namespace sinter::models {

// The families of a text: one entry, or a list of them. `file` begins every message. Error: no
// JSON, a field that is not known or has no such value, a model_type that is described twice, or is
// built in and not said to be replaced.
absl::StatusOr<std::vector<Family>> parse_entries(std::string_view text, const std::string& file);

// The same of a file, which becomes a source of the models that are imported by it.
absl::StatusOr<std::vector<Family>> read_entries(const std::string& path);

// An entry that a user can start from, which parse_entries() takes: for the family that the
// checkpoint names, or else the one that it looks like. Names of tensors and fields that the base
// has no use for are in rules that change nothing yet.
nlohmann::ordered_json entry_for(const std::string& model_type, const Likeness& like);

}  // namespace sinter::models
