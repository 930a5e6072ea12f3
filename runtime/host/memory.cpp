#include "runtime/host/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "runtime/session/session.h"
#include "runtime/support/megabytes.h"

namespace sinter::runtime {
namespace {

// The number after a name in a file of lines "name number"; an empty name is for a file that is one
// number. Nothing for "max" and for what cannot be read.
std::optional<uint64_t> read_number(const std::string& path, std::string_view field,
                                    uint64_t unit) {
  std::ifstream file(path);
  std::string name;
  uint64_t number = 0;
  std::string rest;
  while (field.empty() ? !!(file >> number) : !!(file >> name >> number)) {
    if (name == field) return __builtin_mul_overflow(number, unit, &number) ? UINT64_MAX : number;
    std::getline(file, rest);
  }
  return std::nullopt;
}

// What the limit of this process's address space (`ulimit -v`) leaves; nothing without one.
std::optional<uint64_t> address_space_left() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto used = read_number("/proc/self/statm", "", page);  // all that is mapped
  if (!used) return {};
  return limit.rlim_cur - std::min<uint64_t>(*used, limit.rlim_cur);
}

// Where a version of control groups says what.
struct CgroupFiles {
  const char* folder;  // below the root
  const char* limit;
  const char* usage;
  const char* inactive;  // field of memory.stat
};
constexpr CgroupFiles cgroup_v1 = {"/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                   "total_inactive_file"};
constexpr CgroupFiles cgroup_v2 = {"", "memory.max", "memory.current", "inactive_file"};

// What one group leaves; nothing when it has no limit (in version 1 that is a huge one).
std::optional<uint64_t> memory_left(const std::string& group, const CgroupFiles& files) {
  const auto limit = read_number(group + "/" + files.limit, "", 1);
  const auto usage = read_number(group + "/" + files.usage, "", 1);
  if (!limit || !usage || *limit >= uint64_t{1} << 62) return std::nullopt;
  const uint64_t cached = read_number(group + "/memory.stat", files.inactive, 1).value_or(0);
  const uint64_t used = *usage - std::min(*usage, cached);
  return *limit - std::min(*limit, used);
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

std::optional<uint64_t> cgroup_memory(std::string_view groups, const std::string& root) {
  std::optional<uint64_t> least;
  while (!groups.empty()) {
    const std::string_view line = groups.substr(0, groups.find('\n'));
    groups.remove_prefix(std::min(line.size() + 1, groups.size()));
    // "0::/path" is version 2, "4:memory,cpu:/path" version 1.
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string controllers =
        "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    const CgroupFiles* files = nullptr;
    if (controllers == ",,") files = &cgroup_v2;
    if (controllers.find(",memory,") != std::string::npos) files = &cgroup_v1;
    if (files == nullptr) continue;
    // In a container the path may be the host's, of which only the root is to be seen.
    for (std::string path(line.substr(second + 1));; path.resize(path.rfind('/'))) {
      if (const auto left = memory_left(root + files->folder + path, *files))
        least = std::min(least.value_or(*left), *left);
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return least;
}

std::optional<uint64_t> available_memory() {
  std::optional<uint64_t> machine = read_number("/proc/meminfo", "MemAvailable:", 1024);
  if (const auto left = address_space_left()) machine = std::min(machine.value_or(*left), *left);
  std::ifstream file("/proc/self/cgroup");
  const std::string groups((std::istreambuf_iterator<char>(file)), {});
  const std::optional<uint64_t> group = cgroup_memory(groups, "/sys/fs/cgroup");
  if (!machine || !group) return machine ? machine : group;
  return std::min(*machine, *group);
}
std::optional<uint64_t> total_memory() { return read_number("/proc/meminfo", "MemTotal:", 1024); }

uint64_t peak_resident_bytes() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace sinter::runtime
