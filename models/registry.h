// Families by the name that config.json gives them. A new one is a file in models/families/ and a
// row of registry.def.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "models/family.h"

namespace sinter::models {

const std::vector<Family>& families();
// The one of `own` with this model_type, else the registry's; nullptr when unknown.
const Family* find_family(std::string_view model_type, std::span<const Family> own = {});

}  // namespace sinter::models
