// Lists a folder.
#pragma once

#include <string>
#include <vector>

namespace sinter::runtime {

// The names of what lies in it, sorted; none when it cannot be read. std::bad_alloc comes out,
// which std::filesystem's iterators cannot let out: they allocate in functions that are noexcept.
std::vector<std::string> names_in_folder(const std::string& folder);

}  // namespace sinter::runtime
