// A file's bytes, mapped read-only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/support/mapped_range.h"
#include "runtime/support/source_files.h"

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
  // As it was before it was mapped.
  const runtime::SourceFile& source() const { return *source_; }

  // Gives the memory of whole pages inside `bytes` back; they are read from the file again when
  // touched. Does nothing for bytes that are not of this file.
  void release(absl::Span<const uint8_t> bytes) const;

 private:
  MappedFile() = default;

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::optional<runtime::SourceFile> source_;
  runtime::MappedRange range_;
};

}  // namespace sinter::frontends
