#include "runtime/support/temporary_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "runtime/support/folder.h"

namespace sinter::runtime {
namespace {

constexpr std::string_view mark = ".sinter-tmp-";
constexpr size_t digits = 16;
constexpr int most_attempts = 100;

// ---- What a signal handler removes: a table of fixed size, read without locks. A name that finds
// no room in it is still removed by its object.

struct NameSlot {
  enum State { free, changing, file, folder };
  std::atomic<int> state{free};
  ::pid_t owner = 0;  // a forked child removes nothing of its parent's
  std::array<char, 4096> name{};
};
std::array<NameSlot, 64> name_slots;

int enter(const std::string& name, NameSlot::State state) {
  if (name.size() >= name_slots[0].name.size()) return -1;
  for (size_t i = 0; i < name_slots.size(); ++i) {
    int expected = NameSlot::free;
    if (!name_slots[i].state.compare_exchange_strong(expected, NameSlot::changing)) continue;
    std::memcpy(name_slots[i].name.data(), name.c_str(), name.size() + 1);
    name_slots[i].owner = ::getpid();
    name_slots[i].state = state;
    return static_cast<int>(i);
  }
  return -1;
}

void leave(int slot) {
  if (slot >= 0) name_slots[static_cast<size_t>(slot)].state = NameSlot::free;
}

// The files of a folder and the folder, with system calls alone.
void remove_folder(const char* name) noexcept {
  const int fd = ::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    alignas(8) std::array<char, 4096> buffer;
    for (;;) {
      // linux_dirent64: u64 inode, i64 offset, u16 length, u8 type, name.
      const long got = ::syscall(SYS_getdents64, fd, buffer.data(), buffer.size());
      if (got <= 0) break;
      for (long at = 0; at < got;) {
        uint16_t length = 0;
        std::memcpy(&length, buffer.data() + at + 16, sizeof(length));
        ::unlinkat(fd, buffer.data() + at + 19, 0);
        at += length;
      }
    }
    ::close(fd);
  }
  ::rmdir(name);
}

// ---- Names

// Splits at the last slash; the folder keeps it and is empty for a bare name.
std::pair<std::string, std::string> split(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t begin = slash == std::string::npos ? 0 : slash + 1;
  return {path.substr(0, begin), path.substr(begin)};
}

int random_name(const std::string& path, std::string& out) {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != static_cast<ssize_t>(sizeof(number)))
    return errno != 0 ? errno : EAGAIN;
  const auto [folder, name] = split(path);
  // A name has 255 bytes at most.
  const size_t kept = std::min<size_t>(name.size(), 255 - 1 - mark.size() - digits);
  out = fmt::format("{}.{}{}{:016x}", folder, std::string_view(name).substr(0, kept), mark, number);
  return 0;
}

std::string folder_of(const std::string& path) {
  std::string folder = split(path).first;
  return folder.empty() ? "." : folder;
}

// Removes what dead processes of this user left in a folder.
void sweep(const std::string& folder) {
  for (const std::string& name : names_in_folder(folder)) {
    if (!is_temporary_name(name)) continue;
    const std::string path = folder + "/" + name;
    const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat info{};
    if (::fstat(fd, &info) == 0 && info.st_uid == ::geteuid() &&
        ::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      if (S_ISDIR(info.st_mode)) {
        remove_folder(path.c_str());
      } else {
        ::unlink(path.c_str());
      }
    }
    ::close(fd);
  }
}

// Locks what was just made. False when another process swept it in the meantime.
bool lock(int fd, const std::string& name) {
  // Where there are no locks, nobody else gets one either, and nothing is swept.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  struct stat opened{};
  struct stat named{};
  return ::fstat(fd, &opened) == 0 && ::stat(name.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

// So that a rename in it survives a power cut. Some file systems cannot; the file is then as safe
// as they make it.
void sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

// Open descriptors, or -1 with errno.
int make_file(const std::string& name, mode_t mode) {
  return ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
}

int make_folder(const std::string& name, mode_t mode) {
  if (::mkdir(name.c_str(), mode) != 0) return -1;
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    const int kept = errno;
    ::rmdir(name.c_str());
    errno = kept;
  }
  return fd;
}

// Tries names until `make(name)`, which gives a locked descriptor or -1 with errno, gets one.
template <class Make>
int make_named(const std::string& path, std::string& name, int& fd, const Make& make) {
  sweep(folder_of(path));
  for (int attempt = 0; attempt < most_attempts; ++attempt) {
    if (const int error = random_name(path, name); error != 0) return error;
    fd = make(name);
    if (fd < 0) {
      if (errno == EEXIST) continue;
      return errno;
    }
    if (lock(fd, name)) return 0;
    ::close(std::exchange(fd, -1));
    std::remove(name.c_str());
  }
  return EEXIST;
}

}  // namespace

bool is_temporary_name(std::string_view name) {
  if (name.size() < 1 + mark.size() + digits || name[0] != '.') return false;
  const std::string_view tail = name.substr(name.size() - digits - mark.size());
  return tail.starts_with(mark) && std::all_of(tail.begin() + mark.size(), tail.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string temporary_root() {
  const char* const value = std::getenv("TMPDIR");
  return value != nullptr && value[0] == '/' ? value : "/tmp";
}

void remove_temporaries() noexcept {
  const ::pid_t self = ::getpid();
  for (NameSlot& slot : name_slots) {
    const int state = slot.state;
    if ((state != NameSlot::file && state != NameSlot::folder) || slot.owner != self) continue;
    if (state == NameSlot::file) {
      ::unlink(slot.name.data());
    } else {
      remove_folder(slot.name.data());
    }
  }
}

// ---- Files and folders

TemporaryEntry::TemporaryEntry(TemporaryEntry&& other) noexcept { *this = std::move(other); }

TemporaryEntry& TemporaryEntry::operator=(TemporaryEntry&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(name_, other.name_);
  std::swap(kind_, other.kind_);
  std::swap(fd_, other.fd_);
  std::swap(slot_, other.slot_);
  return *this;
}

TemporaryEntry::~TemporaryEntry() {
  if (!name_.empty()) {
    if (kind_ == file) {
      ::unlink(name_.c_str());
    } else {
      remove_folder(name_.c_str());
    }
  }
  leave(slot_);
  if (fd_ >= 0) ::close(fd_);
}

int TemporaryEntry::create(const std::string& path, Kind kind, mode_t mode) {
  path_ = path;
  std::string name;
  int fd = -1;
  const int error = make_named(path, name, fd, [&](const std::string& wanted) {
    return kind == file ? make_file(wanted, mode) : make_folder(wanted, mode);
  });
  if (error != 0) return error;
  name_ = std::move(name);
  kind_ = kind;
  fd_ = fd;
  slot_ = enter(name_, kind == file ? NameSlot::file : NameSlot::folder);
  return 0;
}

int TemporaryEntry::finish() {
  // The lock goes with the descriptor: it is closed only under the final name.
  if (::fsync(fd_) != 0) return errno;
  if (::rename(name_.c_str(), path_.c_str()) != 0) return errno;
  name_.clear();
  leave(std::exchange(slot_, -1));
  ::close(std::exchange(fd_, -1));
  sync_folder(folder_of(path_));
  return 0;
}

int TemporaryFile::append(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(entry_.descriptor(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return 0;
}

int TemporaryFile::write_at(std::span<const uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(entry_.descriptor(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return 0;
}

}  // namespace sinter::runtime
