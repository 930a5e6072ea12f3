// Machine code from kernel source, remembered between compilations of the same source.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/targets/target.h"

namespace sinter::codegen {

// The shared object that `source` compiles to for `target`. When the environment variable
// SINTER_OBJECT_CACHE names a folder, objects are kept there under a hash of all that they depend
// on (source, kernel library, flags, compiler), and damaged or foreign files in it are compiled
// anew. A cache that cannot be written is no error.
absl::StatusOr<std::vector<uint8_t>> compile_shared(std::string_view source, const Target& target);

// Its assembly, remembered in the same way.
absl::StatusOr<std::string> compile_assembly(std::string_view source, const Target& target);

}  // namespace sinter::codegen
