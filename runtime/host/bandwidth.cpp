// How fast this machine streams memory into its cores.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <vector>

#include "runtime/host/device.h"
#include "runtime/host/memory.h"
#include "runtime/session/session.h"

namespace sinter::runtime {
namespace {

constexpr int passes = 9;

[[gnu::always_inline]] inline uint64_t sum_words(const uint64_t* words, uint64_t count) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; ++i) sum += words[i];
  return sum;
}

// The same loop for wider vectors; the runtime itself is compiled for the oldest machines.
uint64_t sum_baseline(const uint64_t* words, uint64_t count) { return sum_words(words, count); }
#if defined(__x86_64__)
[[gnu::target("avx2")]] uint64_t sum_avx2(const uint64_t* words, uint64_t count) {
  return sum_words(words, count);
}
[[gnu::target("avx512f")]] uint64_t sum_avx512(const uint64_t* words, uint64_t count) {
  return sum_words(words, count);
}
#endif

using Sum = uint64_t (*)(const uint64_t*, uint64_t);

Sum best_sum() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return sum_avx512;
  if (__builtin_cpu_supports("avx2")) return sum_avx2;
#endif
  return sum_baseline;
}

double measure(ThreadPool& pool, const uint64_t* words, uint64_t count) {
  const Sum sum = best_sum();
  const uint64_t share = count / static_cast<uint64_t>(pool.workers());
  std::vector<double> seconds;
  std::vector<uint64_t> sums(static_cast<size_t>(pool.workers()) * 8);  // a cache line each
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int worker) {
      volatile uint64_t& result = sums[static_cast<size_t>(worker) * 8];
      result = sum(words + share * static_cast<uint64_t>(worker), share);
    });
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + passes / 2, seconds.end());
  return static_cast<double>(share * 8 * static_cast<uint64_t>(pool.workers())) /
         seconds[passes / 2];
}

}  // namespace

double measure_streaming_read(int threads, uint64_t bytes) try {
  ThreadPool pool(threads > 0 ? threads : detect_host_cpu().threads);
  const Result<Memory> memory =
      Memory::allocate(std::max<uint64_t>(bytes / 64 * 64, 4096), "a measurement", true);
  if (!memory.ok()) return 0;
  uint64_t* words = reinterpret_cast<uint64_t*>(memory->data());
  const uint64_t count = memory->bytes() / 8;
  // Written by the workers that read it, so that pages exist and lie near them.
  const uint64_t share = count / static_cast<uint64_t>(pool.workers());
  pool.run([&](int worker) {
    std::memset(words + share * static_cast<uint64_t>(worker), 1, share * 8);
  });
  return measure(pool, words, count);
} catch (const std::exception&) {  // no threads
  return 0;
}

}  // namespace sinter::runtime
