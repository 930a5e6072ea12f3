// Clang and LLD in process: kernel source to a shared object or to assembly, for any target in the
// table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/targets/target.h"

namespace sinter::codegen {

// `source` includes "sinter.h", the kernel library. Errors carry Clang's diagnostics: they are bugs
// in sinter, not the user's.
absl::StatusOr<std::vector<uint8_t>> compile_to_object(std::string_view source,
                                                       const Target& target);
absl::StatusOr<std::string> compile_to_assembly(std::string_view source, const Target& target);
// For a target of PTX, which the two above give for it: so many threads have some of the kernels
// each. How many there are changes nothing in the text.
absl::StatusOr<std::string> compile_to_ptx(std::string_view source, const Target& target,
                                           size_t parts);

// A position-independent ELF shared object, without dependences, that exports the phases.
absl::StatusOr<std::vector<uint8_t>> link_shared(const std::vector<uint8_t>& object,
                                                 const Target& target);

// Everything but the source and the kernel library that the machine code depends on.
std::string compile_fingerprint(const Target& target);

// What is called when LLVM gives up, which it does by ending the process: out of memory (also where
// operator new fails while it works), or an error that it takes for its own. Must not return.
using LlvmFailure = void (*)(bool out_of_memory, const char* reason);
void on_llvm_failure(LlvmFailure end);

// "22.1.8"
std::string clang_version();

}  // namespace sinter::codegen
