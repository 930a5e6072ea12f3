// Which files are mapped where, so that a program can say what happened when one was truncated
// under it: the first touch of a page that is gone raises SIGBUS.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace sinter::runtime {

// Registers a mapping for as long as the object lives. A mapping that finds no room in the table,
// or a path that is too long for it, is not known to `mapped_file_at`.
class MappedRange {
 public:
  MappedRange() = default;
  MappedRange(std::span<const uint8_t> bytes, const std::string& path);
  MappedRange(MappedRange&& other) noexcept;
  MappedRange& operator=(MappedRange&& other) noexcept;
  ~MappedRange();

 private:
  int slot_ = -1;
};

// The path of the file that is mapped at an address; null when none is. May be called from a signal
// handler.
const char* mapped_file_at(const void* address) noexcept;

}  // namespace sinter::runtime
