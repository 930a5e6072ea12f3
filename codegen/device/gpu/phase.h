// How a phase is declared: `SINTER_PHASE(name) { body }`. The body runs as one block's share, by
// all of its threads, with `launch` in scope: as a kernel of its own, or called by one that runs
// many. SINTER_WIDE_PHASE: a kernel that is faster with all the registers that a thread may have
// than with more blocks at a time. SINTER_EARLY_PHASE: the body itself awaits the phase before it,
// once it has begun with what that one does not write. SINTER_PAIRED_PHASE: the same, with no more
// registers than let a multiprocessor of NVIDIA's have two blocks. SINTER_ALONE_PHASE: the same,
// wide: so it has one, and blocks that start early do not crowd where there is room first.
//
// Where the runtime launches kernels early, one may start while the one before it runs, once all
// blocks of that one have called release_next_phase(), which they do after await_previous_phase().
// So at any time one phase runs, the next at most has begun, and all others have ended.
#pragma once

#include "gpu/platform.h"

#if defined(SINTER_SIMT)
#define SINTER_KERNEL extern "C" __attribute__((visibility("default"))) void
#define SINTER_WIDE_KERNEL SINTER_KERNEL
#define SINTER_PAIRED_KERNEL SINTER_KERNEL
#define SINTER_BIG_KERNEL SINTER_KERNEL
#define SINTER_BLOCK_NUMBER sinter_simt_block
extern "C" __attribute__((visibility("default"))) int sinter_simt_block = 0;
#else
// Blocks have 256 threads: a SIMD of AMD's needs to hold no more than two of their waves, so that
// each may have 256 registers; one, where it has no more than those (SINTER_SIMD_WAVES) and where
// all phases are one kernel.
#if !defined(SINTER_SIMD_WAVES)
#define SINTER_SIMD_WAVES 2
#endif
#if defined(__AMDGCN__)
#define SINTER_OCCUPANCY(waves) \
  __attribute__((amdgpu_flat_work_group_size(256, 256), amdgpu_waves_per_eu(waves)))
#define SINTER_WIDE_OCCUPANCY SINTER_OCCUPANCY(SINTER_SIMD_WAVES)
#define SINTER_PAIRED_OCCUPANCY SINTER_OCCUPANCY(SINTER_SIMD_WAVES)
#else
#define SINTER_OCCUPANCY(waves) __attribute__((launch_bounds(256)))
#define SINTER_WIDE_OCCUPANCY __attribute__((launch_bounds(256, 1)))
#if defined(SINTER_MATRIX_AMPERE)
#define SINTER_PAIRED_OCCUPANCY __attribute__((launch_bounds(256, 2)))
#else
#define SINTER_PAIRED_OCCUPANCY SINTER_OCCUPANCY(SINTER_SIMD_WAVES)  // by lanes a thread has more
#endif
#endif
#define SINTER_KERNEL                                                            \
  extern "C" __attribute__((visibility("default"))) __global__ SINTER_OCCUPANCY( \
      SINTER_SIMD_WAVES) void
#define SINTER_WIDE_KERNEL \
  extern "C" __attribute__((visibility("default"))) __global__ SINTER_WIDE_OCCUPANCY void
#define SINTER_PAIRED_KERNEL \
  extern "C" __attribute__((visibility("default"))) __global__ SINTER_PAIRED_OCCUPANCY void
#define SINTER_BIG_KERNEL \
  extern "C" __attribute__((visibility("default"))) __global__ SINTER_OCCUPANCY(1) void
#define SINTER_BLOCK_NUMBER sinter::block_number()
#endif

#define SINTER_PHASE(name) SINTER_PHASE_AS(name, SINTER_KERNEL, sinter::await_phases())
#define SINTER_WIDE_PHASE(name) SINTER_PHASE_AS(name, SINTER_WIDE_KERNEL, sinter::await_phases())
#define SINTER_EARLY_PHASE(name) SINTER_PHASE_AS(name, SINTER_KERNEL, static_cast<void>(0))
#define SINTER_ALONE_PHASE(name) SINTER_PHASE_AS(name, SINTER_WIDE_KERNEL, static_cast<void>(0))
#define SINTER_PAIRED_PHASE(name) SINTER_PHASE_AS(name, SINTER_PAIRED_KERNEL, static_cast<void>(0))
#define SINTER_PHASE_AS(name, kernel, begin)                                         \
  static __device__ __attribute__((always_inline)) void name##_phase(                \
      const sinter::Launch* launch);                                                 \
  kernel name(sinter::GpuArguments arguments) {                                      \
    const sinter::Launch launch = sinter::launch_of(arguments, SINTER_BLOCK_NUMBER); \
    begin;                                                                           \
    name##_phase(&launch);                                                           \
  }                                                                                  \
  static __device__ __attribute__((always_inline)) void name##_phase(const sinter::Launch* launch)

// The kernel that runs a whole decode schedule; the body calls the phase `kernel`.
#define SINTER_DECODE                                                             \
  static __device__ __attribute__((always_inline)) void sinter_decode_phase(      \
      long kernel, const sinter::Launch* launch);                                 \
  SINTER_BIG_KERNEL sinter_decode(sinter::GpuArguments arguments) {               \
    const sinter::Launch all = sinter::launch_of(arguments, SINTER_BLOCK_NUMBER); \
    const auto* const phases = sinter::arg<const sinter::DecodePhase>(&all, 0);   \
    const long count = reinterpret_cast<long>(all.args[1]);                       \
    auto* const arrivals = sinter::arg<sinter::u64>(&all, 2);                     \
    for (long i = 0; i < count; ++i) {                                            \
      sinter::Launch launch = all;                                                \
      launch.args = phases[i].args;                                               \
      sinter_decode_phase(phases[i].kernel, &launch);                             \
      sinter::grid_barrier(arrivals, all.workers);                                \
    }                                                                             \
  }                                                                               \
  static __device__ __attribute__((always_inline)) void sinter_decode_phase(      \
      long kernel, const sinter::Launch* launch)

namespace sinter {

SINTER_INLINE Launch launch_of(const GpuArguments& arguments, int block) {
  return {arguments.args, arguments.step, arguments.pages,  arguments.pages_per_sequence,
          nullptr,        block,          arguments.workers};
}

// Arguments point to global memory: said, so that it is addressed as such.
template <class T>
SINTER_INLINE T* arg(const Launch* launch, int i) {
#if defined(SINTER_SIMT)
  return static_cast<T*>(launch->args[i]);
#else
  return (T*)(__attribute__((address_space(1))) T*)launch->args[i];
#endif
}

// The launch of a part of a phase, whose arguments are those from `first` on: the blocks that have
// it, of `all` units of work `count` behind the first `before`. Each part has at least one block,
// which may have others too.
SINTER_INLINE Launch part_of(const Launch* launch, long before, long count, long all,
                             int first = 0) {
  long begin = launch->workers * before / all;
  if (begin > launch->workers - 1) begin = launch->workers - 1;
  long end = launch->workers * (before + count) / all;
  if (end <= begin) end = begin + 1;
  Launch mine = *launch;
  mine.args += first;
  mine.worker = launch->worker - static_cast<int>(begin);
  mine.workers = static_cast<int>(end - begin);
  return mine;
}
SINTER_INLINE bool takes_part(const Launch& launch) {
  return launch.worker >= 0 && launch.worker < launch.workers;
}

}  // namespace sinter
