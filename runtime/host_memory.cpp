#include "runtime/host_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "runtime/session.h"

namespace sinter::runtime {
namespace {

std::optional<uint64_t> read_meminfo(std::string_view field) {
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kilobytes = 0;
  std::string unit;
  while (file >> name >> kilobytes) {
    if (name == field) return kilobytes * 1024;
    std::getline(file, unit);
  }
  return std::nullopt;
}

}  // namespace

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Memory::~Memory() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Result<Memory> Memory::allocate(uint64_t bytes, std::string_view what, bool huge_pages) {
  Memory memory;
  if (bytes == 0) return memory;
  void* address =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return Error{fmt::format("out of memory: cannot allocate {} for {}: {}", megabytes(bytes), what,
                             std::strerror(errno))};
  }
  // Advice only: without huge pages everything works, slower.
  if (huge_pages) ::madvise(address, bytes, MADV_HUGEPAGE);
  memory.data_ = static_cast<uint8_t*>(address);
  memory.bytes_ = bytes;
  return memory;
}

void Memory::clear() {
  // Anonymous private pages read as zeros after MADV_DONTNEED; it fails for locked pages, which are
  // then written.
  if (data_ != nullptr && ::madvise(data_, bytes_, MADV_DONTNEED) != 0) {
    std::memset(data_, 0, bytes_);
  }
}

std::optional<uint64_t> available_memory() { return read_meminfo("MemAvailable:"); }
std::optional<uint64_t> total_memory() { return read_meminfo("MemTotal:"); }

std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
}

uint64_t peak_resident_bytes() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace sinter::runtime
