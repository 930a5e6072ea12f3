// The safetensors container.
// Format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}},
// the tensors' bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "frontends/mapped_file.h"

namespace sinter::frontends {

struct StoredTensor {
  std::string_view dtype;  // as in the file: "F16", "U32", ...; refers to a static table
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> bytes;  // into one of TensorFiles::files; not aligned
  std::string file;                 // name without folder, for messages
};

using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

// Tensors and the mapped files that hold them.
struct TensorFiles {
  StoredTensors tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
};

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes
inline constexpr size_t kMaxTensorRank = 8;

// Every byte of the data must belong to exactly one tensor. Errors name the file and the tensor.
absl::StatusOr<TensorFiles> open_safetensors(const std::filesystem::path& file);

// Adds a file's tensors to `set`, which may hold those of other files. Error, too: a tensor that is
// there already.
absl::Status add_safetensors(const std::filesystem::path& file, TensorFiles& set);

}  // namespace sinter::frontends
