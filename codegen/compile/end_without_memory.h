// LLVM, Clang and LLD are built without exceptions: one that operator new throws inside them cannot
// be caught behind them.
#pragma once

#include <llvm/Support/ErrorHandling.h>

#include <new>

namespace sinter::codegen {

// While this lives, an allocation that fails ends the process, as one of LLVM's own allocators does
// (on_llvm_failure in clang_compile.h).
class EndWithoutMemory {
 public:
  EndWithoutMemory()
      : old_(std::set_new_handler([] { llvm::report_bad_alloc_error("operator new failed"); })) {}
  ~EndWithoutMemory() { std::set_new_handler(old_); }
  EndWithoutMemory(const EndWithoutMemory&) = delete;
  EndWithoutMemory& operator=(const EndWithoutMemory&) = delete;

 private:
  std::new_handler old_;
};

}  // namespace sinter::codegen
