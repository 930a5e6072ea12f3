// Models as the compiler's commands read them: a checkpoint folder, or a configuration without
// weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/plan_builder.h"
#include "frontends/checkpoint.h"
#include "frontends/quantize/checkpoint.h"
#include "models/import.h"
#include "runtime/support/result.h"
#include "tools/program.h"

namespace sinter::tools {

struct ModelInput {
  std::string name;
  std::unique_ptr<frontends::Checkpoint> checkpoint;  // null for a synthetic model
  models::ImportedModel model;
  // `checkpoint` when it is quantized on the way; else null.
  const frontends::QuantizedCheckpoint* quantized = nullptr;
};

// `quantize`: rules as --quantize takes them; `arch_from`: files of entries
// (tools/architectures.h).
runtime::Result<ModelInput> open_model(const std::string& path,
                                       const std::vector<std::string>& quantize,
                                       const std::vector<std::string>& arch_from,
                                       const MtpOptions& mtp = {});
// The rules alone. Error: one is none.
runtime::Result<std::vector<frontends::QuantizeRule>> parse_quantize_rules(
    const std::vector<std::string>& texts);
runtime::Result<ModelInput> open_synthetic(const std::string& config_path,
                                           const std::vector<std::string>& arch_from,
                                           const MtpOptions& mtp = {});

inline runtime::Error to_error(const absl::Status& status) {
  return runtime::Error{std::string(status.message())};
}

// "a8" or "a16"; empty is a8.
codegen::Activations activations_of(const std::string& name);

// One of ir/state_format.h by its name; empty is f16.
ir::DType kv_format_of(const std::string& name);

// The best target of the table that this CPU can run. Error: none.
runtime::Result<codegen::Target> best_host_target();

}  // namespace sinter::tools
