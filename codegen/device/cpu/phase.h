// How a phase is declared: `SINTER_PHASE(name) { body }`. The body runs as one worker's share, with
// `launch` in scope.
#pragma once

#include "kernel_abi.h"

#define SINTER_PHASE(name) \
  extern "C" __attribute__((visibility("default"))) void name(const sinter::Launch* launch)

namespace sinter {

template <class T>
static inline T* arg(const Launch* launch, int i) {
  return static_cast<T*>(launch->args[i]);
}

}  // namespace sinter
