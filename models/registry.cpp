#include "models/registry.h"

#include <algorithm>

namespace sinter::models {

#define SINTER_FAMILY(name, ...) Family family_##name();
#include "models/registry.def"

static Family row(Family family, std::string_view golden = "", std::string_view phases = "") {
  family.golden = golden;
  family.phases = phases;
  return family;
}

const std::vector<Family>& families() {
  static const std::vector<Family> table = {
#define SINTER_FAMILY(name, ...) row(family_##name() __VA_OPT__(, ) __VA_ARGS__),
#include "models/registry.def"
  };
  return table;
}

const Family* find_family(std::string_view model_type, std::span<const Family> own) {
  for (const std::span<const Family> table : {own, std::span<const Family>(families())})
    if (const auto found = std::ranges::find(table, model_type, &Family::model_type);
        found != table.end())
      return &*found;
  return nullptr;
}

}  // namespace sinter::models
