// A file's bytes, mapped read-only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/support/mapped_range.h"

struct stat;

namespace sinter::frontends {

// Owns the mapping; `bytes()` is valid as long as the object (or what it was moved into) lives.
class MappedFile {
 public:
  // Errors name the path: missing, a directory or another special file, no permission, empty,
  // a Git LFS pointer.
  static absl::StatusOr<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  uint64_t size() const { return size_; }
  // Error: the path names another file by now, or this one was written to.
  absl::Status check_unchanged() const;

  // Gives the memory of whole pages inside `bytes` back; they are read from the file again when
  // touched. Does nothing for bytes that are not of this file.
  void release(absl::Span<const uint8_t> bytes) const;

 private:
  MappedFile() = default;

  // What tells one state of a file from another.
  struct Identity {
    uint64_t device = 0, inode = 0, size = 0;
    int64_t seconds = 0, nanoseconds = 0;  // of the last modification
    bool operator==(const Identity&) const = default;
  };
  static Identity identity(const struct stat& info);

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
  Identity identity_;
  runtime::MappedRange range_;
};

}  // namespace sinter::frontends
