// PyTorch's files of a state dict: a zip archive with a pickle and one entry per storage.
// Source: torch/serialization.py, torch/_utils.py.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "frontends/safetensors/safetensors.h"

namespace sinter::frontends {

// Tensors are views of their storages, which several may share, and must be contiguous. Nothing of
// the pickle is executed. Errors name the file and the tensor.
absl::StatusOr<TensorFiles> open_torch_file(const std::filesystem::path& file);

// Adds a file's tensors to `set`, which may hold those of other files. Error, too: a tensor that is
// there already.
absl::Status add_torch_file(const std::filesystem::path& file, TensorFiles& set);

}  // namespace sinter::frontends
