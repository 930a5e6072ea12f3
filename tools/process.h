// What a program sets up before anything else, so that however it ends, it says why in one line and
// leaves no temporary files.
#pragma once

#include <string_view>

namespace sinter::tools {

// - Descriptors 0, 1 and 2 that are closed are opened on /dev/null: the next file would get their
//   number, and messages would land in it.
// - The first Ctrl-C raises a flag (terminal.h), a second one ends the process.
// - Signals that end the process remove its temporary files first. SIGBUS on a mapped file, which
//   was truncated or cannot be read any more, ends it with a line and kExitBadInput.
// - So does std::terminate for want of memory; for anything else the code is kExitBug.
// `program`, for messages, must live as long as the process.
void set_up_process(const char* program);

// One line on stderr, without allocating memory; temporary files are removed; exits with `code`.
[[noreturn]] void end_process(int code, std::string_view what,
                              std::string_view detail = {}) noexcept;

// What LLVM calls instead of ending the process in its own way.
[[noreturn]] void end_for_llvm(bool out_of_memory, const char* reason) noexcept;

}  // namespace sinter::tools
