// Architectures by the name that config.json gives them. A new one is a file with an import
// function and a row in registry.cpp.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/importer.h"

namespace sinter::models {

using ImportFunction = absl::StatusOr<ir::Module> (*)(Importer&);

absl::StatusOr<ir::Module> import_qwen3(Importer& m);
absl::StatusOr<ir::Module> import_llama(Importer& m);
absl::StatusOr<ir::Module> import_bitnet(Importer& m);

// What fields of config.json are that a file does not mention, as transformers has them.
const nlohmann::json& qwen3_defaults();
const nlohmann::json& llama_defaults();
const nlohmann::json& bitnet_defaults();

struct Architecture {
  std::string_view model_type;
  ImportFunction import;
  const nlohmann::json& (*defaults)();
};
const std::vector<Architecture>& architectures();

}  // namespace sinter::models
