#include "models/registry.h"

#include <algorithm>

namespace sinter::models {

#define SINTER_FAMILY(name) Family family_##name();
#include "models/registry.def"

const std::vector<Family>& families() {
  static const std::vector<Family> table = {
#define SINTER_FAMILY(name) family_##name(),
#include "models/registry.def"
  };
  return table;
}

const Family* find_family(std::string_view model_type) {
  const auto found = std::find_if(families().begin(), families().end(), [&](const Family& family) {
    return family.model_type == model_type;
  });
  return found == families().end() ? nullptr : &*found;
}

}  // namespace sinter::models
