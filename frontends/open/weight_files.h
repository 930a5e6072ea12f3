// Which files of a folder hold a model's tensors. The tensors in the files count; an index that
// lists them is a hint, which older or other files may have left behind.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/safetensors/safetensors.h"
#include "runtime/support/source_files.h"

namespace sinter::frontends {

struct WeightFiles {
  TensorFiles files;
  // Tensors that the index lists and no file holds, with what it says of them.
  std::map<std::string, std::string, std::less<>> absent;
  std::vector<std::string> notes;
};

// Opens, of the .safetensors files in a folder or else its .bin files,
//   what an index lists, when all of it is there, and the other parts of the same name;
//   else "model.safetensors" ("pytorch_model.bin"), or all parts
//   "model-00001-of-0000N.safetensors", or "weights.safetensors" or "weights.00.safetensors" and so
//   on, or the only file that is there;
// or, when `named` is one of those files and not the folder, that file and those it is a part with.
// NotFoundError when the folder has no such files. Other errors name the part that is missing, or
// files that each could be the model. An index that is read is added to `sources`.
absl::StatusOr<WeightFiles> open_weight_files(const std::filesystem::path& folder,
                                              const std::filesystem::path& named,
                                              runtime::SourceFiles* sources = nullptr);

// Whether .safetensors files are there whose names or index say that they are a model.
bool has_safetensors(const std::filesystem::path& folder);

}  // namespace sinter::frontends
