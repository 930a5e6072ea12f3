#include "runtime/support/source_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sinter::runtime {
namespace {

Error unreadable(int error) {
  return Error{fmt::format("cannot be read: {}", std::strerror(error))};
}

Result<std::string> read_all(int fd) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(errno);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

}  // namespace

SourceFile::SourceFile(std::string name, const struct stat& info)
    : path(std::move(name)),
      device(info.st_dev),
      inode(info.st_ino),
      size(static_cast<uint64_t>(info.st_size)),
      seconds(info.st_mtim.tv_sec),
      nanoseconds(info.st_mtim.tv_nsec) {}

bool SourceFile::is_unchanged() const {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return false;
  const SourceFile now("", info);
  return now.device == device && now.inode == inode && now.size == size && now.seconds == seconds &&
         now.nanoseconds == nanoseconds;
}

Status check_unchanged(std::span<const SourceFile> files) {
  for (const SourceFile& file : files) {
    if (file.is_unchanged()) continue;
    return Error{fmt::format(
        "{}: changed while it was read, so what was made of it may be wrong; run the command again",
        file.path)};
  }
  return Done{};
}

Result<std::optional<std::string>> read_source(const std::string& path, SourceFiles* sources) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<std::string>();
    return unreadable(errno);
  }
  // Closes the descriptor on every way out, exceptions for want of memory included.
  const struct Descriptor {
    int fd;
    ~Descriptor() { ::close(fd); }
  } closing{fd};
  struct stat info{};
  if (::fstat(fd, &info) != 0) return unreadable(errno);
  if (!S_ISREG(info.st_mode)) return Error{"is not a regular file"};
  if (sources != nullptr) sources->emplace_back(path, info);
  auto text = read_all(fd);
  if (!text.ok()) return text.error();
  return std::optional(*std::move(text));
}

}  // namespace sinter::runtime
