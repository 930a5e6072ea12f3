// What a command reads, so that its output does not take the place of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::tools {

// Files are compared by device and inode: links and other ways to write a path make no difference.
class InputFiles {
 public:
  // "" and "-", and what is not there, are no files.
  InputFiles& add_file(const std::string& path);
  InputFiles& add_files(const std::vector<std::string>& paths);
  // A plan; or a model's folder or file, with the files beside it that can belong to a model.
  InputFiles& add_model(const std::string& path);

  // Error: `path` is one of the files.
  runtime::Status check_output_file(const std::string& path) const;
  // Error: `path` is the folder of the model or of the plan.
  runtime::Status check_output_folder(const std::string& path) const;

 private:
  struct Entry {
    std::string path;
    uint64_t device;
    uint64_t inode;
  };
  static bool find(const std::string& path, Entry& entry);
  static const Entry* find_same(const std::vector<Entry>& entries, const std::string& path);
  void add_beside(const std::string& folder, bool gguf_only, bool is_inner = false);

  std::vector<Entry> files_;
  std::vector<Entry> model_folders_;
  std::vector<Entry> plan_folders_;
};

}  // namespace sinter::tools
