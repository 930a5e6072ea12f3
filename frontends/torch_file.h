// PyTorch's files of a state dict: a zip archive with a pickle and one entry per storage, or shards
// listed by an index. Source: torch/serialization.py, torch/_utils.py.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "frontends/safetensors.h"

namespace sinter::frontends {

// Tensors are views of their storages, which several may share, and must be contiguous. Nothing of
// the pickle is executed. Errors name the file and the tensor.
absl::StatusOr<TensorFiles> open_torch_file(const std::filesystem::path& file);

// `index_file` is a pytorch_model.bin.index.json.
absl::StatusOr<TensorFiles> open_torch_index(const std::filesystem::path& index_file);

}  // namespace sinter::frontends
