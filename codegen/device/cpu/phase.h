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

// The launch of a part of a phase, whose arguments are those from `first` on. All workers have a
// share of every part, one part after another.
static inline Launch part_of(const Launch* launch, int first) {
  Launch mine = *launch;
  mine.args += first;
  return mine;
}

}  // namespace sinter
