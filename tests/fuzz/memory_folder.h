// Files in memory, for readers that take paths.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"

namespace sinter::fuzz {

// Lies in TMPDIR, which tests/fuzz/run.sh sets to a folder that it removes, whatever became of the
// program; else in shared memory.
class MemoryFolder {
 public:
  MemoryFolder() {
    const char* parent = std::getenv("TMPDIR");
    std::string name = std::string(parent != nullptr ? parent : "/dev/shm") + "/sinter-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) fail("no folder for files can be made", name);
    path_ = name;
  }
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;
  ~MemoryFolder() {
    for (const auto& [name, file] : files_) ::close(file);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  // The file holds `bytes` and nothing else afterwards.
  std::filesystem::path write(const std::string& name, std::string_view bytes) {
    const auto [at, is_new] = files_.try_emplace(name, -1);
    if (is_new) {
      at->second = ::open((path_ / name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    if (::ftruncate(at->second, static_cast<off_t>(bytes.size())) != 0 ||
        ::pwrite(at->second, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      fail("a file in memory cannot be written", name);
    return path_ / name;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::map<std::string, int> files_;
};

}  // namespace sinter::fuzz
