// Memory of this machine and this process: zeroed allocations with clear errors, what is free, what
// was used at most.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/support/result.h"

namespace sinter::runtime {

// Page-aligned zeroed memory, owned. Pages are backed when first touched.
class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();

  // Error: out of memory, naming `what` and its size. huge_pages asks for 2 MiB pages where the
  // system grants them.
  static Result<Memory> allocate(uint64_t bytes, std::string_view what, bool huge_pages);

  uint8_t* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  // All zero again, and the pages given back.
  void clear();

 private:
  uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// Peak resident memory of this process in bytes, as the kernel counts it.
uint64_t peak_resident_bytes();

// Bytes that can be allocated without swapping, as /proc/meminfo estimates and as the limits of
// this process's control groups allow; nothing when neither can be read.
std::optional<uint64_t> available_memory();
std::optional<uint64_t> total_memory();

// What the memory limits of control groups leave, of version 1 and 2, from the process's group up
// to the root; nothing when there is no limit. `groups` is the text of /proc/self/cgroup, `root`
// the folder where the groups are mounted. Cached pages of files that were not used for a while
// count as free.
std::optional<uint64_t> cgroup_memory(std::string_view groups, const std::string& root);

}  // namespace sinter::runtime
