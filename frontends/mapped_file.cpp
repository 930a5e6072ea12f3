#include "frontends/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "frontends/error_text.h"
#include "runtime/support/git_lfs.h"

namespace sinter::frontends {
namespace {

absl::Status system_error(const std::filesystem::path& path, int error) {
  const std::string name = one_line(path.string(), 1000);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(fmt::format("{}: no such file", name));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(fmt::format("{}: no permission to read this file", name));
    default:
      return absl::UnavailableError(
          fmt::format("{}: cannot be read: {}", name, std::strerror(error)));
  }
}

// Closes the descriptor on every way out; the mapping outlives it.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

absl::StatusOr<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return system_error(path, errno);
  struct stat info = {};
  if (::fstat(file.fd, &info) != 0) return system_error(path, errno);
  const std::string name = one_line(path.string(), 1000);
  if (S_ISDIR(info.st_mode)) return invalid("{}: is a directory, expected a file", name);
  if (!S_ISREG(info.st_mode)) return invalid("{}: is not a regular file", name);
  if (info.st_size <= 0) return invalid("{}: the file is empty", name);
  const auto size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) return system_error(path, errno);
  MappedFile mapped;
  mapped.data_ = static_cast<const uint8_t*>(data);
  mapped.size_ = size;
  mapped.source_.emplace(path.string(), info);
  mapped.range_ = runtime::MappedRange({mapped.data_, size}, path.string());
  if (runtime::is_git_lfs_pointer(mapped.text())) {
    return invalid("{}: {}", name, runtime::git_lfs_advice);
  }
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      source_(std::move(other.source_)),
      range_(std::move(other.range_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(source_, other.source_);
  std::swap(range_, other.range_);
  return *this;
}

void MappedFile::release(absl::Span<const uint8_t> bytes) const {
  if (bytes.empty() || bytes.data() < data_ || bytes.data() + bytes.size() > data_ + size_) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / page * page;
  // Advice only: a refusal changes nothing.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  range_ = runtime::MappedRange();
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace sinter::frontends
