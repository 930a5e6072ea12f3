// The machine as kernels see it: threads, shared memory, waves, atomics, integer dots. Written for
// AMD, for NVIDIA, and for a CPU that plays a GPU thread by thread in tests (SINTER_SIMT).
// SINTER_WAVE is the number of lanes of a wave, 32 or 64. SINTER_NO_DOT4: a machine of AMD's
// without integer dots.
#pragma once

#include "elements.h"
#include "kernel_abi.h"

#if defined(SINTER_SIMT)
#define __device__
#elif !defined(__device__)
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#endif
#define SINTER_INLINE static inline __device__ __attribute__((always_inline))
#define SINTER_MEMBER inline __device__ __attribute__((always_inline))

#if !defined(SINTER_SIMT)
// The block's shared memory: as large as the launch asked for.
extern __shared__ __attribute__((aligned(16))) unsigned char sinter_shared[];
#else
// What the machine that plays the GPU gives the thread that runs.
struct SinterSimt {
  int thread;
  unsigned char* shared;
  void (*barrier)();
  unsigned (*shuffle)(unsigned value, int lane);  // the value that `lane` of this wave brought
  void (*await)();                                // the phase before, by the whole block
  void (*look_again)();                           // when other blocks have run
};
extern "C" __attribute__((visibility("default"))) SinterSimt* sinter_simt = nullptr;
#endif

namespace sinter {

using u32x2 = u32 __attribute__((ext_vector_type(2)));
using u32x4 = u32 __attribute__((ext_vector_type(4)));
using i32x4 = i32 __attribute__((ext_vector_type(4)));
using i32x8 = i32 __attribute__((ext_vector_type(8)));
using f32x2 = float __attribute__((ext_vector_type(2)));
using f32x4 = float __attribute__((ext_vector_type(4)));

constexpr int threads = gpu_block_threads;
constexpr int wave_size = SINTER_WAVE;
constexpr int waves = threads / wave_size;
#if defined(SINTER_NO_DOT4)
constexpr bool has_dot4 = false;
#else
constexpr bool has_dot4 = true;
#endif

#if defined(SINTER_SIMT)

SINTER_INLINE int thread() { return sinter_simt->thread; }
SINTER_INLINE u8* shared_memory() { return sinter_simt->shared; }
SINTER_INLINE void barrier() { sinter_simt->barrier(); }
SINTER_INLINE u32 shuffle(u32 value, int from) { return sinter_simt->shuffle(value, from); }
// The lanes of a wave see what the others wrote to shared memory.
SINTER_INLINE void wave_barrier() { sinter_simt->shuffle(0, 0); }
SINTER_INLINE int wave_uniform(int value) { return value; }
SINTER_INLINE int fetch_add(int* p, int value) {
  return __atomic_fetch_add(p, value, __ATOMIC_ACQ_REL);
}
SINTER_INLINE void store_word(u32* p, u32 x) { __atomic_store_n(p, x, __ATOMIC_RELAXED); }
SINTER_INLINE u32 load_word(const u32* p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
SINTER_INLINE void look_again() { sinter_simt->look_again(); }
SINTER_INLINE void fence() {}
SINTER_INLINE void fence_of_block() {}
SINTER_INLINE u64 fetch_add_wide(u64* p) { return __atomic_fetch_add(p, 1, __ATOMIC_ACQ_REL); }
SINTER_INLINE u64 load_acquire(const u64* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
SINTER_INLINE float exp2(float x) { return __builtin_exp2f(x); }
SINTER_INLINE float reciprocal(float x) { return 1.0F / x; }
SINTER_INLINE float reciprocal_root(float x) { return 1.0F / __builtin_sqrtf(x); }
// Not inlined: there are thousands of calls, and tests are compiled more than they run.
static __attribute__((noinline, unused)) int dot4(u32 a, u32 b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<i8>(a >> i) * static_cast<i8>(b >> i);
  return c;
}
template <class T>
SINTER_INLINE T load_stream(const void* p) {
  return *static_cast<const T*>(p);
}

#elif defined(__NVPTX__)

SINTER_INLINE int thread() { return __nvvm_read_ptx_sreg_tid_x(); }
SINTER_INLINE int block_number() { return __nvvm_read_ptx_sreg_ctaid_x(); }
SINTER_INLINE u8* shared_memory() { return sinter_shared; }
SINTER_INLINE void barrier() { __syncthreads(); }
SINTER_INLINE u32 shared_address(const u8* p) {
  return static_cast<u32>(reinterpret_cast<u64>((const __attribute__((address_space(3))) u8*)p));
}
SINTER_INLINE void wave_barrier() { __nvvm_bar_warp_sync(~0U); }
SINTER_INLINE u32 shuffle(u32 value, int from) {
  return static_cast<u32>(__nvvm_shfl_sync_idx_i32(~0U, static_cast<int>(value), from, 31));
}
SINTER_INLINE int wave_uniform(int value) { return value; }
// Written in PTX since LLVM 22 makes a relaxed `atom` of an atomic of any order.
SINTER_INLINE int fetch_add(int* p, int value) {
  const auto at = reinterpret_cast<u64>((__attribute__((address_space(1))) int*)p);
  int before;
  __asm__ volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], %2;"
                   : "=r"(before)
                   : "l"(at), "r"(value)
                   : "memory");
  return before;
}
// Between fences.
SINTER_INLINE u64 fetch_add_wide(u64* p) {
  return __scoped_atomic_fetch_add(p, 1, __ATOMIC_ACQ_REL, __MEMORY_SCOPE_DEVICE);
}
SINTER_INLINE u64 load_acquire(const u64* p) {
  return __scoped_atomic_load_n(p, __ATOMIC_ACQUIRE, __MEMORY_SCOPE_DEVICE);
}
// Words that blocks hand over while they run.
SINTER_INLINE void store_word(u32* p, u32 x) {
  __scoped_atomic_store_n(p, x, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
}
SINTER_INLINE u32 load_word(const u32* p) {
  return __scoped_atomic_load_n(p, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
}
SINTER_INLINE void look_again() {}
// What this thread wrote becomes visible to the device before what it writes from here on.
SINTER_INLINE void fence() { __nvvm_membar_gl(); }
// The same for all threads of a block, one of which announces it by fetch_add behind a barrier():
// here that one's release is enough, which counts for what it has seen others write.
SINTER_INLINE void fence_of_block() {}
SINTER_INLINE float exp2(float x) { return __nvvm_ex2_approx_ftz_f(x); }
SINTER_INLINE float reciprocal(float x) { return __nvvm_rcp_approx_ftz_f(x); }
SINTER_INLINE float reciprocal_root(float x) { return __nvvm_rsqrt_approx_ftz_f(x); }
SINTER_INLINE int dot4(u32 a, u32 b, int c) {
  int d;
  __asm__("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
// Loads of weights: each is read once in a step, so the first-level cache is left alone.
template <class T>
SINTER_INLINE T load_stream(const void* p) {
  const auto at = reinterpret_cast<u64>((const __attribute__((address_space(1))) void*)p);
  if constexpr (sizeof(T) == 16) {
    u32x4 v;
    __asm__("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
            : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
            : "l"(at));
    return __builtin_bit_cast(T, v);
  } else if constexpr (sizeof(T) == 8) {
    u32x2 v;
    __asm__("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
            : "=r"(v[0]), "=r"(v[1])
            : "l"(at));
    return __builtin_bit_cast(T, v);
  } else if constexpr (sizeof(T) == 4) {
    u32 v;
    __asm__("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(at));
    return __builtin_bit_cast(T, v);
  } else {
    u16 v;
    __asm__("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(v) : "l"(at));
    return __builtin_bit_cast(T, v);
  }
}

#else  // AMD

SINTER_INLINE int thread() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
SINTER_INLINE int block_number() { return static_cast<int>(__builtin_amdgcn_workgroup_id_x()); }
SINTER_INLINE u8* shared_memory() { return sinter_shared; }
SINTER_INLINE void barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
SINTER_INLINE void wave_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
SINTER_INLINE u32 shuffle(u32 value, int from) {
  return static_cast<u32>(__builtin_amdgcn_ds_bpermute(from << 2, static_cast<int>(value)));
}
SINTER_INLINE int wave_uniform(int value) { return __builtin_amdgcn_readfirstlane(value); }
SINTER_INLINE int fetch_add(int* p, int value) {
  return __hip_atomic_fetch_add(p, value, __ATOMIC_ACQ_REL, __HIP_MEMORY_SCOPE_AGENT);
}
SINTER_INLINE u64 fetch_add_wide(u64* p) {
  return __hip_atomic_fetch_add(p, 1, __ATOMIC_ACQ_REL, __HIP_MEMORY_SCOPE_AGENT);
}
SINTER_INLINE u64 load_acquire(const u64* p) {
  return __hip_atomic_load(p, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_AGENT);
}
SINTER_INLINE void store_word(u32* p, u32 x) {
  __hip_atomic_store(p, x, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
SINTER_INLINE u32 load_word(const u32* p) {
  return __hip_atomic_load(p, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
SINTER_INLINE void look_again() {}
SINTER_INLINE void fence() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent"); }
SINTER_INLINE void fence_of_block() { fence(); }
SINTER_INLINE float exp2(float x) {
#if __has_builtin(__builtin_amdgcn_exp2f)
  return __builtin_amdgcn_exp2f(x);
#else  // before Clang 17: from the device library
  return __builtin_exp2f(x);
#endif
}
SINTER_INLINE float reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
SINTER_INLINE float reciprocal_root(float x) { return __builtin_amdgcn_rsqf(x); }
SINTER_INLINE int dot4(u32 a, u32 b, int c) {
#if defined(SINTER_NO_DOT4)
  for (int i = 0; i < 32; i += 8) c += static_cast<i8>(a >> i) * static_cast<i8>(b >> i);
  return c;
#elif __has_builtin(__builtin_amdgcn_sudot4) && (defined(__GFX11__) || defined(__GFX12__))
  return __builtin_amdgcn_sudot4(true, static_cast<int>(a), true, static_cast<int>(b), c, false);
#else
  return __builtin_amdgcn_sdot4(static_cast<int>(a), static_cast<int>(b), c, false);
#endif
}
template <class T>
SINTER_INLINE T load_stream(const void* p) {
  return __builtin_nontemporal_load((const __attribute__((address_space(1))) T*)p);
}

#endif

// `bytes` of `Size` (4, 8 or 16) from global to shared memory, zeros for the rest; `To` and `From`
// bytes behind the addresses. They are under way until await_copies(), or in groups, each ended by
// end_copies(), until await_copies_but<n>() leaves the last n; then a barrier shows them to others.
template <int Size = 16, int To = 0, int From = 0>
SINTER_INLINE void copy_to_shared(u8* to, const u8* from, int bytes) {
  static_assert(Size == 4 || Size == 8 || Size == 16);
#if __CUDA_ARCH__ >= 800
  const auto source = reinterpret_cast<u64>((const __attribute__((address_space(1))) void*)from);
  if constexpr (Size == 16) {
    __asm__ volatile(
        "cp.async.cg.shared.global [%0 + %3], [%1 + %4], 16, %2;" ::"r"(shared_address(to)),
        "l"(source), "r"(bytes), "n"(To), "n"(From)
        : "memory");
  } else {
    __asm__ volatile(
        "cp.async.ca.shared.global [%0 + %3], [%1 + %4], %5, %2;" ::"r"(shared_address(to)),
        "l"(source), "r"(bytes), "n"(To), "n"(From), "n"(Size)
        : "memory");
  }
#else
  u32* const words = reinterpret_cast<u32*>(to + To);
  for (int i = 0; i < Size / 4; ++i) {
    const int left = bytes - i * 4;
    const u32 word = left > 0 ? reinterpret_cast<const u32*>(from + From)[i] : 0;
    words[i] = left < 4 && left > 0 ? word & ((1U << left * 8) - 1) : word;
  }
#endif
}
SINTER_INLINE void end_copies() {
#if __CUDA_ARCH__ >= 800
  __asm__ volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int Groups>
SINTER_INLINE void await_copies_but() {
#if __CUDA_ARCH__ >= 800
  __asm__ volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
#endif
}
SINTER_INLINE void await_copies() {
#if __CUDA_ARCH__ >= 800
  __asm__ volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Of kernels that are launched early (gpu/phase.h): what follows sees all that earlier kernels
// wrote; and the next kernel may start.
SINTER_INLINE void await_previous_phase() {
#if __CUDA_ARCH__ >= 900
  __asm__ volatile("griddepcontrol.wait;" ::: "memory");
#elif defined(SINTER_SIMT)
  sinter_simt->await();
#endif
}
SINTER_INLINE void release_next_phase() {
#if __CUDA_ARCH__ >= 900
  __asm__ volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
SINTER_INLINE void await_phases() {
  await_previous_phase();
  release_next_phase();
}

// Byte number `Byte` of four words, as one word.
template <int Byte>
SINTER_INLINE u32 gather_bytes(const u32 (&words)[4]) {
  static_assert(Byte == 0 || Byte == 1);
#if defined(__NVPTX__)
  constexpr u32 pair = Byte == 0 ? 0x0040U : 0x0051U;
  return __nvvm_prmt(__nvvm_prmt(words[0], words[1], pair), __nvvm_prmt(words[2], words[3], pair),
                     0x5410U);
#elif defined(__AMDGCN__)
  // Selectors of the second word are 0 to 3, of the first 4 to 7.
  constexpr u32 pair = Byte == 0 ? 0x0c0c0400U : 0x0c0c0501U;
  return __builtin_amdgcn_perm(__builtin_amdgcn_perm(words[3], words[2], pair),
                               __builtin_amdgcn_perm(words[1], words[0], pair), 0x05040100U);
#else
  u32 out = 0;
  for (int i = 0; i < 4; ++i) out |= (words[i] >> (8 * Byte) & 255U) << (8 * i);
  return out;
#endif
}

// Bytes number codes[k] < 16 of the table t0 t1 t2 t3, for the four bytes of `codes`.
SINTER_INLINE u32 lookup(u32 t0, u32 t1, u32 t2, u32 t3, u32 codes) {
#if defined(__NVPTX__)
  // The selectors of a permutation are nibbles.
  const u32 pairs = codes | codes >> 4;
  const u32 nibbles = __nvvm_prmt(pairs, 0, 0x4420);
  const u32 select = nibbles & 0x7777U;
  const u32 low = __nvvm_prmt(t0, t1, select);
  const u32 high = __nvvm_prmt(t2, t3, select);
  const u32 upper = __nvvm_prmt(0x0000ff00U, 0, nibbles >> 3 & 0x1111U);
  return (low & ~upper) | (high & upper);
#elif defined(__AMDGCN__)
  const u32 select = codes & 0x07070707U;
  const u32 low = __builtin_amdgcn_perm(t1, t0, select);
  const u32 high = __builtin_amdgcn_perm(t3, t2, select);
  // Selectors 12 and 13 give 0x00 and 0xff.
  const u32 upper = __builtin_amdgcn_perm(0, 0, 0x0c0c0c0cU | (codes >> 3 & 0x01010101U));
  return (low & ~upper) | (high & upper);
#else
  const u32 table[4] = {t0, t1, t2, t3};
  u32 out = 0;
  for (int i = 0; i < 32; i += 8) {
    const u32 code = codes >> i & 15U;
    out |= (table[code / 4] >> (code % 4 * 8) & 255U) << i;
  }
  return out;
#endif
}

// The values are computed here and loads stay on their side, where the compiler would otherwise
// gather more of them than there are registers.
template <class T, int Count>
SINTER_INLINE void settle(T (&values)[Count]) {
#if defined(__AMDGCN__)
#pragma clang loop unroll(full)
  for (int i = 0; i < Count; ++i) __asm__ volatile("" : "+v"(values[i])::"memory");
#elif defined(__NVPTX__)
#pragma clang loop unroll(full)
  for (int i = 0; i < Count; ++i)
    if constexpr (__is_same(T, float)) {
      __asm__ volatile("" : "+f"(values[i])::"memory");
    } else {
      __asm__ volatile("" : "+r"(values[i])::"memory");
    }
#else
  static_cast<void>(values);
#endif
}

// The same, though the compiler does not know it: what follows from them is found again where it is
// needed, and not kept in registers throughout a loop.
SINTER_INLINE int again(int x) {
#if defined(__AMDGCN__)
  __asm__ volatile("" : "+v"(x));
#else
  __asm__ volatile("" : "+r"(x));
#endif
  return x;
}
SINTER_INLINE u8* shared_memory_again() {
#if defined(__NVPTX__)
  u32 address = shared_address(shared_memory());
  __asm__ volatile("" : "+r"(address));
  return (u8*)(__attribute__((address_space(3))) u8*)u64{address};
#else
  return shared_memory();
#endif
}

SINTER_INLINE int lane() { return thread() % wave_size; }
// May be called by some lanes of a wave alone.
SINTER_INLINE int wave() { return wave_uniform(thread() / wave_size); }

// All blocks of the grid meet, and see what the others wrote. `arrivals` only ever grows.
SINTER_INLINE void grid_barrier(u64* arrivals, int workers) {
  fence();
  barrier();
  if (thread() == 0) {
    const u64 before = fetch_add_wide(arrivals);
    const u64 wanted = before - before % static_cast<u64>(workers) + static_cast<u64>(workers);
    while (load_acquire(arrivals) < wanted) continue;
  }
  barrier();
  fence();
}

template <class T>
SINTER_INLINE T shuffle_xor(T value, int mask) {
  static_assert(sizeof(T) == 4);
  return __builtin_bit_cast(T, shuffle(__builtin_bit_cast(u32, value), lane() ^ mask));
}
// The same for a chain of masks, each of which would keep a register with shuffle(): here the
// instruction has the mask in it, where there is one. Not always better: the attention of prompts
// spills with it.
template <class T>
SINTER_INLINE T shuffle_by_mask(T value, int mask) {
#if defined(__NVPTX__)
  static_assert(sizeof(T) == 4);
  return __builtin_bit_cast(
      T, __nvvm_shfl_sync_bfly_i32(~0U, __builtin_bit_cast(int, value), mask, 31));
#else
  return shuffle_xor(value, mask);
#endif
}
// Over runs of `Lanes` lanes; every lane gets the result. The order is fixed.
template <int Count, class T>
SINTER_INLINE T sum_lanes(T value) {
#pragma clang loop unroll(full)
  for (int mask = 1; mask < Count; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}
SINTER_INLINE float larger(float a, float b) { return a > b ? a : b; }
template <int Count>
SINTER_INLINE float max_lanes(float value) {
#pragma clang loop unroll(full)
  for (int mask = 1; mask < Count; mask *= 2) value = larger(value, shuffle_xor(value, mask));
  return value;
}
// The larger size of two numbers; of what is no number a NaN or an infinity is left. As integers
// sizes are ordered as they are, with infinity above every number and NaN above that.
SINTER_INLINE float larger_size(float a, float b) {
#if __CUDA_ARCH__ >= 800
  return __nvvm_fmax_nan_f(__builtin_fabsf(a), __builtin_fabsf(b));
#else
  const u32 x = __builtin_bit_cast(u32, a) & 0x7fffffffU;
  const u32 y = __builtin_bit_cast(u32, b) & 0x7fffffffU;
  return __builtin_bit_cast(float, x > y ? x : y);
#endif
}
// Over a wave.
SINTER_INLINE u32 most_of_wave(u32 value) {
#if __CUDA_ARCH__ >= 800
  return __nvvm_redux_sync_umax(value, -1);
#else
#pragma clang loop unroll(full)
  for (int mask = 1; mask < wave_size; mask *= 2) {
    const u32 other = shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
#endif
}
template <int Count>
SINTER_INLINE float max_size_of_lanes(float value) {
#if __CUDA_ARCH__ >= 800
  if constexpr (Count == wave_size)
    return __builtin_bit_cast(float, most_of_wave(__builtin_bit_cast(u32, __builtin_fabsf(value))));
#endif
#pragma clang loop unroll(full)
  for (int mask = 1; mask < Count; mask *= 2) value = larger_size(value, shuffle_xor(value, mask));
  return value;
}

// One column of a row: what generated epilogues compute with.
using Lanes = float;
SINTER_INLINE float load(const float* p) { return *p; }
SINTER_INLINE float load(const f16* p) { return static_cast<float>(*p); }
SINTER_INLINE float load(const bf16* p) {
  return __builtin_bit_cast(float, static_cast<u32>(p->bits) << 16);
}
SINTER_INLINE float widen(float x) { return x; }
SINTER_INLINE float widen(f16 x) { return static_cast<float>(x); }
SINTER_INLINE float widen(bf16 x) {
  return __builtin_bit_cast(float, static_cast<u32>(x.bits) << 16);
}
// 2^(bits - 127); the smallest is a subnormal.
SINTER_INLINE float widen(e8m0 x) {
  return __builtin_bit_cast(float, x.bits == 0 ? 0x00400000U : static_cast<u32>(x.bits) << 23);
}
// The fields of a float32 whose exponent is biased by 120 more.
SINTER_INLINE float widen(e4m3 x) {
  const u32 bits = (x.bits & 0x80U) << 24 | (x.bits & 0x7fU) << 20;
  return __builtin_bit_cast(float, bits) * 0x1p120F;
}
SINTER_INLINE float load(const e8m0* p) { return widen(*p); }
SINTER_INLINE float load(const e4m3* p) { return widen(*p); }
// Element number k of runs of `Run` elements that begin `Stride` apart.
template <int Run, int Stride, class T>
SINTER_INLINE float load_runs(const T* p, index k, index) {
  return load(p + k / Run * Stride + k % Run);
}
SINTER_INLINE void store(float* p, float value, index) { *p = value; }
SINTER_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

}  // namespace sinter
