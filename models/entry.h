// What a user's own description of an architecture says beside the names of a family.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/support/source_files.h"

namespace sinter::models {

struct Entry {
  std::string where = {};  // `mine.json: entry "my_model"`, which begins every message
  std::string base = {};   // the model_type that it starts from
  // Fields that it gives a default, by the names that model definitions have.
  std::vector<std::string> defaults = {};
  nlohmann::json blocks = nlohmann::json::object();  // flags of models/blocks/flags.h
  runtime::SourceFiles sources = {};                 // the file, where it is from one
};

}  // namespace sinter::models
