// How a phase is declared: `SINTER_PHASE(name) { body }`. The body runs as one block's share, by all of its
// threads, with `launch` in scope: as a kernel of its own, or called by one that runs many.
#pragma once

#include "gpu/platform.h"

#if defined(SINTER_SIMT)
#define SINTER_KERNEL extern "C" __attribute__((visibility("default"))) void
#define SINTER_BLOCK_NUMBER sinter_simt_block
extern "C" __attribute__((visibility("default"))) int sinter_simt_block = 0;
#else
#define SINTER_KERNEL \
  extern "C" __attribute__((visibility("default"))) __global__ void __attribute__((launch_bounds(256)))
#define SINTER_BLOCK_NUMBER sinter::block_number()
#endif

#define SINTER_PHASE(name)                                                              \
  static __device__ __attribute__((always_inline)) void name##_phase(const sinter::Launch* launch); \
  SINTER_KERNEL name(sinter::GpuArguments arguments) {                                  \
    const sinter::Launch launch{arguments.args, arguments.step, nullptr, SINTER_BLOCK_NUMBER, \
                                arguments.workers};                                     \
    name##_phase(&launch);                                                              \
  }                                                                                     \
  static __device__ __attribute__((always_inline)) void name##_phase(const sinter::Launch* launch)

namespace sinter {

// Arguments point to global memory: said, so that it is addressed as such.
template <class T>
SINTER_INLINE T* arg(const Launch* launch, int i) {
#if defined(SINTER_SIMT)
  return static_cast<T*>(launch->args[i]);
#else
  return (T*)(__attribute__((address_space(1))) T*)launch->args[i];
#endif
}

}  // namespace sinter
