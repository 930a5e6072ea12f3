// Architectures that a user describes: entries in files of --arch-from, and in the folder
// sinter/architectures of the user's configuration.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/family.h"
#include "runtime/support/result.h"

namespace sinter::tools {

// $XDG_CONFIG_HOME/sinter/architectures or ~/.config/sinter/architectures; nothing when neither
// variable says where. The folder need not exist.
std::optional<std::string> architectures_folder();

// Those of the files, then those of all .json files of the folder that no file describes anew.
// Error: one of them is no entry, or two files of a kind describe the same model_type.
runtime::Result<std::vector<models::Family>> own_families(const std::vector<std::string>& files);

}  // namespace sinter::tools
