// Models as the compiler's commands read them: a checkpoint folder, or a configuration without
// weights.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "codegen/plan_builder.h"
#include "frontends/checkpoint.h"
#include "models/registry.h"
#include "runtime/result.h"

namespace sinter::tools {

struct ModelInput {
  std::string name;
  std::unique_ptr<frontends::Checkpoint> checkpoint;  // null for a synthetic model
  models::ImportedModel model;
};

runtime::Result<ModelInput> open_model(const std::string& path);
runtime::Result<ModelInput> open_synthetic(const std::string& config_path);

inline runtime::Error to_error(const absl::Status& status) {
  return runtime::Error{std::string(status.message())};
}

// "a8" or "a16"; empty is a8.
codegen::Activations activations_of(const std::string& name);

// The best target of the table that this CPU can run. Error: none.
runtime::Result<codegen::Target> best_host_target();

}  // namespace sinter::tools
