#include "tools/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "runtime/plan/head.h"
#include "runtime/support/git_lfs.h"

namespace sinter::tools {

using runtime::Done;
using runtime::Error;
using runtime::Result;
using runtime::Status;

std::optional<std::string> absolute_variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || value[0] != '/') return std::nullopt;
  return value;
}

Result<std::string> read_file(const std::string& path) {
  const bool standard_input = path == "-";
  const int fd = standard_input ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{fmt::format("{}: cannot be read: {}", path, std::strerror(errno))};
  std::string text;
  std::array<char, 1 << 16> buffer;
  int error = 0;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  if (!standard_input) ::close(fd);
  if (error != 0) return Error{fmt::format("{}: cannot be read: {}", path, std::strerror(error))};
  return text;
}

namespace {

bool has_extension(const std::string& path, std::string_view extension) {
  return path.size() > extension.size() &&
         std::equal(extension.begin(), extension.end(), path.end() - std::ssize(extension),
                    [](char wanted, char c) {
                      return wanted == (c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
                    });
}

// The first bytes of a regular file; fewer than asked for when there are no more.
Result<std::string> read_start(const std::string& path, size_t bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Error{fmt::format("{}: cannot be read: {}", path, std::strerror(errno))};
  std::string start(bytes, '\0');
  size_t known = 0;
  for (;;) {
    const ssize_t got = ::read(fd, start.data() + known, start.size() - known);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    known += static_cast<size_t>(got);
  }
  ::close(fd);
  start.resize(known);
  return start;
}

constexpr std::string_view kGgufMagic = "GGUF";

}  // namespace

bool is_gguf(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) return false;
  if (has_extension(path, ".gguf")) return true;
  const auto start = read_start(path, kGgufMagic.size());
  return start.ok() && *start == kGgufMagic;
}

std::string folder_of(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return path;
  if (!has_extension(path, ".safetensors") && !has_extension(path, ".bin")) return path;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

Error OutputFile::fail(int error) const {
  return Error{fmt::format("{}: cannot be written: {}", shown_, std::strerror(error))};
}

Result<OutputFile> OutputFile::create(const std::string& path, const std::string& shown) {
  OutputFile file;
  file.shown_ = shown.empty() ? path : shown;
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return Error{fmt::format("{}: exists and is not a regular file; name another", path)};
  if (path.empty() || path.ends_with('/'))
    return Error{fmt::format("\"{}\" names no file to write", path)};
  if (const int error = file.file_.create(path); error != 0) return file.fail(error);
  return file;
}

Status OutputFile::append(std::span<const uint8_t> bytes) {
  const int error = file_.append(bytes);
  return error == 0 ? Status(Done{}) : fail(error);
}

Status OutputFile::append(std::string_view text) {
  return append(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

Status OutputFile::finish() {
  const int error = file_.finish();
  return error == 0 ? Status(Done{}) : fail(error);
}

Status write_file(const std::string& path, std::string_view text) {
  Result<OutputFile> file = OutputFile::create(path);
  if (!file.ok()) return file.error();
  if (Status status = file->append(text); !status.ok()) return status;
  return file->finish();
}

Result<InputKind> kind_of_input(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0)
    return Error{fmt::format(
        "{}: {}", path,
        errno == ENOENT || errno == ENOTDIR ? "no such file or folder" : std::strerror(errno))};
  if (S_ISDIR(info.st_mode)) return InputKind::model;
  if (!S_ISREG(info.st_mode))
    return Error{fmt::format("{}: is neither a plan nor a model folder", path)};
  const auto start = read_start(path, 1024);
  if (!start.ok()) return start.error();
  if (start->starts_with(runtime::plan_magic)) return InputKind::plan;
  if (runtime::is_git_lfs_pointer(*start))
    return Error{fmt::format("{}: {}", path, runtime::git_lfs_advice)};
  if (start->starts_with(kGgufMagic)) return InputKind::model;
  for (const std::string_view extension : {".safetensors", ".bin", ".gguf"})
    if (has_extension(path, extension)) return InputKind::model;
  return Error{fmt::format(
      "{}: is neither a plan (it does not begin with \"{}\"), a GGUF file nor a model folder; "
      "compile a model to make a plan",
      path, runtime::plan_magic)};
}

}  // namespace sinter::tools
