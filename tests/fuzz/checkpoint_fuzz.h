// Opening damaged copies of a model folder: what the checkpoint fuzzers share.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"

namespace sinter::frontends {

// splitmix64: choices of the fuzzers themselves.
inline uint64_t fuzz_random(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15ULL;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
  return z ^ z >> 31;
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Removed when the object goes.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sinter-fuzz-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;  // empty when there is no room for temporary files
};

// A temporary copy of a folder's files.
class FolderCopy : public TemporaryFolder {
 public:
  explicit FolderCopy(const std::filesystem::path& seed) {
    if (path.empty()) return;
    for (const auto& entry : std::filesystem::directory_iterator(seed)) {
      if (!entry.is_regular_file()) continue;
      write_bytes(path / entry.path().filename(), read_bytes(entry.path()));
    }
  }
};

struct FuzzCounts {
  int64_t opened = 0;
  int64_t refused = 0;
  int64_t bad_messages = 0;  // empty, or of several lines
};

// Opens the folder and decodes the first and last row of every matrix.
inline void open_and_decode(const std::filesystem::path& folder, FuzzCounts& counts) {
  const auto checkpoint = open_checkpoint(folder);
  if (!checkpoint.ok()) {
    ++counts.refused;
    const std::string message(checkpoint.status().message());
    if (message.empty() || message.find('\n') != std::string::npos) {
      ++counts.bad_messages;
      std::fprintf(stderr, "bad message: %s\n", message.c_str());
    }
    return;
  }
  ++counts.opened;
  std::vector<float> row;
  for (const auto& [name, matrix] : (*checkpoint)->matrices) {
    row.resize(static_cast<size_t>(matrix.type.cols()));
    ir::decode_row(matrix, 0, row.data());
    ir::decode_row(matrix, matrix.type.rows() - 1, row.data());
  }
  static_cast<void>((*checkpoint)->matrix("model.layers.0.no_such_module"));
  static_cast<void>((*checkpoint)->check_all_used({}));
}

// The closing line; the exit status of the program.
inline int finish(const char* program, const FuzzCounts& counts) {
  std::printf("%s: %lld mutants, %lld opened, %lld refused, %lld bad messages\n", program,
              static_cast<long long>(counts.opened + counts.refused),
              static_cast<long long>(counts.opened), static_cast<long long>(counts.refused),
              static_cast<long long>(counts.bad_messages));
  return counts.bad_messages == 0 ? 0 : 1;
}

}  // namespace sinter::frontends
