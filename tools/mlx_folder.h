// Writes a checkpoint as a model folder in MLX's format.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/quantize/checkpoint.h"
#include "frontends/rounding/rules.h"
#include "runtime/support/result.h"

namespace sinter::tools {

struct MlxFolderRequest {
  const frontends::Checkpoint* checkpoint = nullptr;
  const frontends::QuantizeChoice* choice = nullptr;
  std::string out;
  uint64_t max_file_bytes = 5'000'000'000;
  // Called between pieces of work with the part that is done, 0..1. May be empty.
  std::function<void(double fraction)> progress;
};

struct MlxFolderResult {
  std::vector<frontends::QuantizationError> errors;
  std::vector<std::string> notes;  // what other readers of the folder will not understand
  size_t weight_files = 0;
  uint64_t weight_bytes = 0;
  int64_t parameters = 0;
};

// config.json with the quantization of every module, weights, and what belongs to the tokenizer.
// Matrices that `choice` does not name stay as they are: dense, or packed in MLX's order. One
// matrix is in memory at a time. Errors: among others, a packed matrix that MLX has no form for.
// Nothing is left behind then.
runtime::Result<MlxFolderResult> write_mlx_folder(const MlxFolderRequest& request);

}  // namespace sinter::tools
