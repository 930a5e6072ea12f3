// A folder that appears as a whole or not at all.
#pragma once

#include <string>
#include <string_view>

#include "runtime/result.h"
#include "tools/files.h"

namespace sinter::tools {

// Files are written into a temporary folder beside `path`, which `finish` renames.
class OutputFolder {
 public:
  // Errors name the path: something that is not an empty folder is there, or it cannot be made.
  static runtime::Result<OutputFolder> create(const std::string& path);
  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;
  ~OutputFolder();  // removes the temporary folder unless `finish` succeeded

  runtime::Result<OutputFile> file(const std::string& name) const;
  runtime::Status write(const std::string& name, std::string_view text) const;
  // Everything is on the disk when this returns well.
  runtime::Status finish();

 private:
  OutputFolder() = default;
  runtime::Error fail(int error) const;

  std::string path_;
  std::string temporary_;  // empty once it was renamed
};

}  // namespace sinter::tools
