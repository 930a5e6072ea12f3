#include "tools/output_folder.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>

namespace sinter::tools {

using runtime::Done;
using runtime::Error;
using runtime::Result;
using runtime::Status;
namespace fs = std::filesystem;

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
  if (const int code = folder.folder_.create(name); code != 0) return folder.fail(code);
  return folder;
}

Result<OutputFile> OutputFolder::file(const std::string& name) const {
  return OutputFile::create(folder_.name() + "/" + name, path_ + "/" + name);
}

Status OutputFolder::write(const std::string& name, std::string_view text) const {
  Result<OutputFile> out = file(name);
  if (!out.ok()) return out.error();
  if (Status status = out->append(text); !status.ok()) return status;
  return out->finish();
}

Status OutputFolder::finish() {
  const int error = folder_.finish();
  return error == 0 ? Status(Done{}) : fail(error);
}

}  // namespace sinter::tools
