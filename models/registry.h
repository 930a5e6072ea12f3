// Families by the name that config.json gives them. A new one is a file in models/families/ and a
// row of registry.def.
#pragma once

#include <string_view>
#include <vector>

#include "models/family.h"

namespace sinter::models {

const std::vector<Family>& families();
const Family* find_family(std::string_view model_type);  // nullptr when unknown

}  // namespace sinter::models
