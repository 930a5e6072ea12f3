#include "tools/output_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace sinter::tools {

using runtime::Done;
using runtime::Error;
using runtime::Result;
using runtime::Status;
namespace fs = std::filesystem;

namespace {

// 0, or the error.
int sync_folder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

}  // namespace

Error OutputFolder::fail(int error) const {
  return Error{fmt::format("{}: cannot be written: {}", path_, std::strerror(error))};
}

Result<OutputFolder> OutputFolder::create(const std::string& path) {
  if (path.empty()) return Error{"\"\" names no folder to write"};
  OutputFolder folder;
  std::error_code error;
  // A link is followed and "x/." is "x", so that the name to rename to is the folder's own.
  const fs::path whole = fs::weakly_canonical(path, error);
  folder.path_ = path;
  if (error) return folder.fail(error.value());
  std::string name = whole.string();
  while (name.size() > 1 && name.ends_with('/')) name.pop_back();
  folder.path_ = name;
  if (fs::exists(name, error)) {
    if (!fs::is_directory(name, error))
      return Error{fmt::format("{}: exists and is not a folder; name another", path)};
    const bool is_empty = fs::is_empty(name, error);
    if (error) return folder.fail(error.value());
    if (!is_empty)
      return Error{
          fmt::format("{}: exists and is not empty; name another folder or remove it", path)};
  }
  const size_t slash = name.rfind('/');
  std::string temporary =
      fmt::format("{}.{}.tmp-{}", name.substr(0, slash + 1), name.substr(slash + 1), ::getpid());
  if (::mkdir(temporary.c_str(), 0755) != 0) return folder.fail(errno);
  folder.temporary_ = std::move(temporary);
  return folder;
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})) {}

OutputFolder::~OutputFolder() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

Result<OutputFile> OutputFolder::file(const std::string& name) const {
  return OutputFile::create(temporary_ + "/" + name, path_ + "/" + name);
}

Status OutputFolder::write(const std::string& name, std::string_view text) const {
  Result<OutputFile> out = file(name);
  if (!out.ok()) return out.error();
  if (Status status = out->append(text); !status.ok()) return status;
  return out->finish();
}

Status OutputFolder::finish() {
  if (const int error = sync_folder(temporary_); error != 0) return fail(error);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return fail(errno);
  temporary_.clear();
  // The name itself.
  const std::string parent = path_.substr(0, std::max<size_t>(1, path_.rfind('/')));
  if (const int error = sync_folder(parent); error != 0) return fail(error);
  return Done{};
}

}  // namespace sinter::tools
