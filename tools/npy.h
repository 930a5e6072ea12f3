// Float32 matrices as NumPy writes and reads them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

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

struct NpyMatrix {
  int64_t rows = 0, cols = 0;  // 1 at least
  std::vector<float> values;   // [rows, cols]
};

// Error: no whole file of a matrix of '<f4' in C order.
runtime::Result<NpyMatrix> read_npy(const std::string& path);

}  // namespace sinter::tools
