// Writes float32 matrices as NumPy reads them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "runtime/support/result.h"
#include "tools/files.h"

namespace sinter::tools {

class NpyWriter {
 public:
  // `path` stays what it was until `finish`.
  static runtime::Result<NpyWriter> create(const std::string& path, int64_t rows, int64_t cols);
  // Any number of whole or partial rows.
  runtime::Status append(std::span<const float> values);
  // Error: not rows * cols values were given.
  runtime::Status finish();

 private:
  NpyWriter(OutputFile file, uint64_t values) : file_(std::move(file)), missing_(values) {}
  OutputFile file_;
  uint64_t missing_;
};

}  // namespace sinter::tools
