// A model folder that a test writes: config.json and one safetensors file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/json_file.h"
#include "frontends/open/open_checkpoint.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {

// The next of a sequence of numbers below 2^24 without a pattern.
inline uint32_t next_number(uint32_t& state) {
  state = state * 1664525U + 1013904223U;
  return state >> 8;
}

struct ModelFolder {
  Json config = Json::object();
  std::vector<TestTensor> tensors;
  TempDir dir = {};

  absl::StatusOr<std::unique_ptr<Checkpoint>> open() const {
    dir.write("config.json", config.dump());
    dir.write("model.safetensors", safetensors_bytes(tensors));
    return open_checkpoint(dir.path());
  }

  TestTensor& tensor(std::string_view name) {
    for (TestTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name;
    return tensors[0];
  }

  void remove(std::string_view name) {
    std::erase_if(tensors, [&](const TestTensor& tensor) { return tensor.name == name; });
  }
};

// All numbers of a module; none, and a failure, when it cannot be read.
inline std::vector<float> numbers_of(const Checkpoint& checkpoint, std::string_view module) {
  const auto matrix = checkpoint.matrix(module);
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  if (!matrix.ok()) return {};
  std::vector<float> out(static_cast<size_t>(matrix->type.elements()));
  for (int64_t row = 0; row < matrix->type.rows(); ++row)
    ir::decode_row(*matrix, row, out.data() + row * matrix->type.cols());
  return out;
}

inline std::vector<float> numbers_of(const ModelFolder& folder, std::string_view module) {
  const auto checkpoint = folder.open();
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return {};
  return numbers_of(**checkpoint, module);
}

// The map of a module: "symmetric b4 z8 g32 f16".
inline std::string format_of(const ModelFolder& folder, std::string_view module) {
  const auto checkpoint = folder.open();
  if (!checkpoint.ok()) return std::string(checkpoint.status().message());
  const auto matrix = (*checkpoint)->matrix(module);
  return matrix.ok() ? ir::to_string(matrix->type.format) : std::string(matrix.status().message());
}

}  // namespace sinter::frontends
