// The fields of a text model's configuration under the names that model definitions have for them.
#pragma once

#include <string>

#include "models/config.h"
#include "models/family.h"

namespace sinter::models {

struct ModelFields {
  nlohmann::json values;
  std::string file;
  FieldNames names;
};

// Those of a text model inside another are taken out, and the family's rules applied.
ModelFields read_fields(const nlohmann::json& config, const std::string& file,
                        const FieldNames& names, const Family& family);

}  // namespace sinter::models
