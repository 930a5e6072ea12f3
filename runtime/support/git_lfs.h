// Git LFS leaves a few lines of text in place of a file that was not downloaded.
#pragma once

#include <string_view>

namespace sinter::runtime {

// Source: docs/spec.md of git-lfs: the first line of a pointer, which is shorter than 1024 bytes.
inline bool is_git_lfs_pointer(std::string_view content) {
  return content.size() < 1024 && content.starts_with("version https://git-lfs.github.com/spec/");
}

// Ends the sentence "FILE: ...".
inline constexpr std::string_view git_lfs_advice =
    "is a Git LFS pointer, not the file itself; download the file, such as with git lfs pull";

}  // namespace sinter::runtime
