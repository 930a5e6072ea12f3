// Writes tensors into safetensors files, as many as their sizes ask for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/support/result.h"
#include "tools/output_folder.h"

namespace sinter::tools {

struct TensorInfo {
  std::string name;
  std::string_view dtype;  // "U32", "BF16", ...
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

// model.safetensors, or model-00001-of-0000N.safetensors and their index when there are more bytes
// than one file takes. All tensors are known from the start; their bytes follow in that order.
class SafetensorsWriter {
 public:
  // `max_file_bytes` of tensors go into a file; a larger one has a file for itself.
  SafetensorsWriter(const OutputFolder& folder, std::vector<TensorInfo> tensors,
                    uint64_t max_file_bytes);

  // More bytes of the tensor that is being written, or of the next one.
  runtime::Status append(std::span<const uint8_t> bytes);
  // After the last byte.
  runtime::Status finish();

  size_t files() const { return first_of_file_.size(); }
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  std::string file_name(size_t file) const;
  runtime::Status open_file(size_t file);

  const OutputFolder& folder_;
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> first_of_file_;  // the first tensor of each file
  uint64_t total_bytes_ = 0;
  size_t next_file_ = 0;
  uint64_t left_in_file_ = 0;
  std::optional<OutputFile> out_;
};

}  // namespace sinter::tools
