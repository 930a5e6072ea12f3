// A folder that appears as a whole or not at all.
#pragma once

#include <string>
#include <string_view>

#include "runtime/support/result.h"
#include "runtime/support/temporary_file.h"
#include "tools/files.h"

namespace sinter::tools {

// Files are written into a temporary folder beside `path`, which `finish` renames
// (runtime/support/temporary_file.h).
class OutputFolder {
 public:
  // Errors name the path: something that is not an empty folder is there, or it cannot be made.
  static runtime::Result<OutputFolder> create(const std::string& path);

  runtime::Result<OutputFile> file(const std::string& name) const;
  runtime::Status write(const std::string& name, std::string_view text) const;
  // Everything is on the disk when this returns well.
  runtime::Status finish();

 private:
  OutputFolder() = default;
  runtime::Error fail(int error) const;

  std::string path_;
  runtime::TemporaryFolder folder_;
};

}  // namespace sinter::tools
