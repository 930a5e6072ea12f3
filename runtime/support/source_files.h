// Files that something is made from, and whether they are still what was read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/support/result.h"

struct stat;

namespace sinter::runtime {

// A file in the state in which it was opened.
struct SourceFile {
  // `info` is of the open file, asked for before its first byte is read.
  SourceFile(std::string path, const struct stat& info);

  // Whether the path names the same file still and nobody wrote to it.
  bool is_unchanged() const;

  std::string path;
  uint64_t device = 0, inode = 0, size = 0;
  int64_t seconds = 0, nanoseconds = 0;  // of the last modification
};

using SourceFiles = std::vector<SourceFile>;

// Asked before what was made of the files gets its name. Error: names one that changed.
Status check_unchanged(std::span<const SourceFile> files);

// All bytes of a regular file, which is added to `sources`; nullopt when it is not there. Errors
// are without its name.
Result<std::optional<std::string>> read_source(const std::string& path,
                                               SourceFiles* sources = nullptr);

}  // namespace sinter::runtime
