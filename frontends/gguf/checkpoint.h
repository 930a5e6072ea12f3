// A GGUF file as a checkpoint: metadata becomes what config.json would say, tensors get the names
// and the row order of Hugging Face checkpoints.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"

namespace sinter::frontends {

// Tensors of types without a weight format are listed as unsupported. Errors: those of open_gguf,
// an unknown architecture, an unknown key of it, a scale that is not finite.
absl::StatusOr<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::filesystem::path& path);

}  // namespace sinter::frontends
