// Architectures by the name that config.json gives them. A new one is a file with an import
// function and a row in registry.cpp.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "models/end_tokens.h"
#include "models/generation.h"
#include "models/importer.h"
#include "runtime/support/source_files.h"

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

struct ImportedModel {
  ir::Module module;
  std::string architecture;
  int64_t vocab_size = 0;
  int64_t layers = 0;
  int64_t max_positions = 0;  // that the model is made for
  std::vector<EndToken> ends;
  int32_t bos_id = -1;
  Generation generation;
  std::vector<std::string> notes;  // what the user should know about the configuration
  runtime::SourceFiles sources;    // all that the configuration and the weights were read from
};

// The graph of a checkpoint, whose matrices lose the rows of padding that only the shapes of the
// architecture tell. Error: unknown model_type, missing, extra or misshapen tensors, bad fields.
absl::StatusOr<ImportedModel> import_checkpoint(frontends::Checkpoint& checkpoint);

// The graph of a configuration without weights: matrices take the format that its `quantization`
// block says.
absl::StatusOr<ImportedModel> import_synthetic(const nlohmann::json& config);

}  // namespace sinter::models
