// Flags by which a user's entry changes the blocks of the family that it starts from: each is a
// field of a Decoder, of its attention or of its MLPs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/blocks/decoder.h"

namespace sinter::models {

struct FlagText {
  std::string_view name;
  std::string values;  // "true or false", "a number from 0 to 1000000", `"none" or "head"`
  std::string_view what;
};

// All flags, in the order in which they are applied.
std::vector<FlagText> flag_texts();

// Error: a flag that is not known, or a value that it does not have; begins with `where`.
absl::Status check_flags(const nlohmann::json& flags, std::string_view where);

// Makes the changes that the importer's entry asks for, if there is one. The importer fails where
// no layer has what a flag changes.
void apply_flags(Importer& m, Decoder& d);

}  // namespace sinter::models
