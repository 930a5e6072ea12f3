#include "tools/input_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "runtime/support/folder.h"
#include "tools/files.h"

namespace sinter::tools {

using runtime::Done;
using runtime::Error;
using runtime::Status;
namespace fs = std::filesystem;

namespace {

// Of files that a model is read from: tensors, configuration, tokenizer, templates.
constexpr std::array<std::string_view, 7> kModelExtensions = {
    ".safetensors", ".bin", ".gguf", ".json", ".jinja", ".model", ".txt"};

std::string extension_of(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

std::string folder_holding(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

bool InputFiles::find(const std::string& path, Entry& entry) {
  struct stat info{};
  if (path.empty() || path == "-" || ::stat(path.c_str(), &info) != 0) return false;
  entry = {path, info.st_dev, info.st_ino};
  return true;
}

const InputFiles::Entry* InputFiles::find_same(const std::vector<Entry>& entries,
                                               const std::string& path) {
  Entry wanted;
  if (!find(path, wanted)) return nullptr;
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.device == wanted.device && entry.inode == wanted.inode;
  });
  return found == entries.end() ? nullptr : &*found;
}

InputFiles& InputFiles::add_file(const std::string& path) {
  if (Entry entry; find(path, entry)) files_.push_back(std::move(entry));
  return *this;
}

InputFiles& InputFiles::add_files(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) add_file(path);
  return *this;
}

// One level of folders: templates may lie in one of their own.
void InputFiles::add_beside(const std::string& folder, bool gguf_only, bool is_inner) {
  for (const std::string& name : runtime::names_in_folder(folder)) {
    const fs::path path = fs::path(folder) / name;
    const std::string extension = extension_of(path);
    const bool belongs = gguf_only ? extension == ".gguf"
                                   : std::find(kModelExtensions.begin(), kModelExtensions.end(),
                                               extension) != kModelExtensions.end();
    std::error_code ignored;
    const fs::file_type type = fs::status(path, ignored).type();
    if (type == fs::file_type::directory && !is_inner) add_beside(path.string(), gguf_only, true);
    if (type == fs::file_type::regular && belongs) add_file(path.string());
  }
}

InputFiles& InputFiles::add_model(const std::string& path) {
  Entry entry;
  if (!find(path, entry)) return *this;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    model_folders_.push_back(std::move(entry));
    add_beside(path, false);
    return *this;
  }
  add_file(path);
  const std::string folder = folder_holding(path);
  if (Entry holder; find(folder, holder)) {
    const auto kind = kind_of_input(path);
    if (kind.ok() && *kind == InputKind::plan) {
      plan_folders_.push_back(std::move(holder));
    } else if (is_gguf(path)) {
      add_beside(folder, true);  // other parts of a split file
    } else {
      model_folders_.push_back(std::move(holder));
      add_beside(folder, false);
    }
  }
  return *this;
}

Status InputFiles::check_output_file(const std::string& path) const {
  const Entry* same = find_same(files_, path);
  if (same == nullptr) return Done{};
  if (same->path == path)
    return Error{fmt::format("{}: is read by this command; name another file to write", path)};
  return Error{fmt::format("{}: is {}, which this command reads; name another file to write", path,
                           same->path)};
}

Status InputFiles::check_output_folder(const std::string& path) const {
  if (find_same(plan_folders_, path) != nullptr)
    return Error{
        fmt::format("{}: is the folder that the plan lies in; name another folder to write", path)};
  if (find_same(model_folders_, path) != nullptr)
    return Error{fmt::format("{}: is the model's folder; name another folder to write", path)};
  return Done{};
}

}  // namespace sinter::tools
