// From a configuration, with or without a checkpoint, to the graph of a model and what else is
// known of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "ir/graph.h"
#include "models/end_tokens.h"
#include "models/family.h"
#include "models/generation.h"
#include "runtime/support/source_files.h"

namespace sinter::models {

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

struct ImportOptions {
  bool mtp = false;  // with the entry of the head that drafts tokens; error: there is none
};

// The graph of a checkpoint, whose matrices lose the rows of padding that only the shapes of the
// architecture tell. `own`: families that a user describes (models/user/entries.h), which come
// before those of the registry. Error: unknown model_type, missing, extra or misshapen tensors, bad
// fields.
absl::StatusOr<ImportedModel> import_checkpoint(frontends::Checkpoint& checkpoint,
                                                std::span<const Family> own = {},
                                                const ImportOptions& options = {});

// The graph of a configuration without weights: matrices take the format that its `quantization`
// block says.
absl::StatusOr<ImportedModel> import_synthetic(const nlohmann::json& config,
                                               std::span<const Family> own = {},
                                               const ImportOptions& options = {});

}  // namespace sinter::models
