// Files that commands read and write.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/support/result.h"
#include "runtime/support/temporary_file.h"

namespace sinter::tools {

// The whole file; "-" is the standard input. Errors name the path.
runtime::Result<std::string> read_file(const std::string& path);

// The value of an environment variable that is an absolute path.
std::optional<std::string> absolute_variable(const char* name);

// Whether it is a file that begins as GGUF does, or one that its name says to be of GGUF.
bool is_gguf(const std::string& path);
// The model folder that `path` names: itself, or the folder of a .safetensors or .bin file.
std::string folder_of(const std::string& path);

// A file that takes the place of `path` when it is whole (runtime/support/temporary_file.h).
class OutputFile {
 public:
  // `shown` is the path in messages, when it is another.
  static runtime::Result<OutputFile> create(const std::string& path, const std::string& shown = {});

  runtime::Status append(std::span<const uint8_t> bytes);
  runtime::Status append(std::string_view text);
  runtime::Status finish();

 private:
  OutputFile() = default;
  runtime::Error fail(int error) const;

  std::string shown_;
  runtime::TemporaryFile file_;
};

runtime::Status write_file(const std::string& path, std::string_view text);

enum class InputKind { plan, model };
// A regular file that begins with the plan's magic is a plan; a folder, a .safetensors or .bin file
// and a GGUF file of any name are models; anything else is an error.
runtime::Result<InputKind> kind_of_input(const std::string& path);

}  // namespace sinter::tools
