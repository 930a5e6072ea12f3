#include "runtime/host/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <span>
#include <vector>

#include "runtime/host/cpu.h"
#include "runtime/host/memory.h"
#include "runtime/host/thread_pool.h"

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

// The words of a share.
std::span<uint64_t> part(std::span<uint64_t> words, Share share) {
  const size_t each = words.size() / static_cast<size_t>(share.count);
  return words.subspan(each * static_cast<size_t>(share.index), each);
}

double measure(ThreadPool& pool, std::span<uint64_t> words) {
  const Sum sum = best_sum();
  std::vector<double> seconds;
  std::vector<uint64_t> sums(static_cast<size_t>(pool.workers()) * 8);  // a cache line each
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](Share share) {
      const std::span<uint64_t> mine = part(words, share);
      volatile uint64_t& result = sums[static_cast<size_t>(share.index) * 8];
      result = sum(mine.data(), mine.size());
    });
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + passes / 2, seconds.end());
  return static_cast<double>(words.size_bytes()) / seconds[passes / 2];
}

}  // namespace

double measure_streaming_read(int threads, uint64_t bytes) try {
  ThreadPool pool(threads > 0 ? threads : detect_host_cpu().threads);
  const Result<Memory> memory =
      Memory::allocate(std::max<uint64_t>(bytes / 64 * 64, 4096), "a measurement", true);
  if (!memory.ok()) return 0;
  const std::span<uint64_t> words(reinterpret_cast<uint64_t*>(memory->data()), memory->bytes() / 8);
  // Written by the workers that read it, so that pages exist and lie near them.
  pool.run([&](Share share) {
    const std::span<uint64_t> mine = part(words, share);
    std::memset(mine.data(), 1, mine.size_bytes());
  });
  return measure(pool, words);
} catch (const std::exception&) {  // no threads
  return 0;
}

}  // namespace sinter::runtime
