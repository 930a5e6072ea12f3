// The workers of the host device. Waiting is done on counters that only grow, each on a cache line
// of its own, written with release and read with acquire order: what a worker wrote before it
// arrived is seen by all after the barrier.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <functional>
#include <thread>

#include "runtime/host/device.h"

namespace sinter::runtime {
namespace {

constexpr int cache_line = 64;
constexpr int spins_before_yield = 2000;
// How long an idle worker spins for the next `run` before it sleeps: about as long as the host
// needs between two steps.
constexpr auto idle_spin = std::chrono::microseconds(80);

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

template <class Ready>
void spin_until(int spins, Ready ready) {
  for (int i = 0; i < spins; ++i) {
    if (ready()) return;
    pause_cpu();
  }
  while (!ready()) std::this_thread::yield();
}

static_assert(sizeof(std::atomic<int>) == sizeof(int), "futexes are plain ints");

void sleep_while(std::atomic<int>& word, int value) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(std::atomic<int>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

struct ThreadPool::Impl {
  struct alignas(cache_line) Slot {
    std::atomic<uint64_t> arrived{
        0};              // barriers that the worker has come to; worker 0 has no use for it
    uint64_t epoch = 0;  // barriers that the worker has entered; only the worker touches it
  };

  explicit Impl(int count) : workers(count), slots(new Slot[static_cast<size_t>(count)]) {
    // With more workers than processors a waiting worker holds up the one it waits for.
    spins = workers > detect_host_cpu().threads ? 0 : spins_before_yield;
  }

  void barrier(int worker) {
    Slot& mine = slots[static_cast<size_t>(worker)];
    const uint64_t epoch = ++mine.epoch;
    if (worker != 0) {
      mine.arrived.store(epoch, std::memory_order_release);
      spin_until(spins, [&] { return released.load(std::memory_order_acquire) >= epoch; });
      return;
    }
    for (int i = 1; i < workers; ++i) {
      const Slot& other = slots[static_cast<size_t>(i)];
      spin_until(spins, [&] { return other.arrived.load(std::memory_order_acquire) >= epoch; });
    }
    released.store(epoch, std::memory_order_release);
  }

  // Waits until `job` is no longer `seen`; gives the new value.
  int next_job(int seen) {
    const auto start = std::chrono::steady_clock::now();
    while (spins > 0 && std::chrono::steady_clock::now() - start < idle_spin) {
      for (int i = 0; i < 16; ++i) {
        const int now = job.load(std::memory_order_acquire);
        if (now != seen) return now;
        pause_cpu();
      }
    }
    // Either `announce` sees the sleeper and wakes it, or the futex sees the new job and does not
    // sleep.
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    int now = job.load(std::memory_order_seq_cst);
    while (now == seen) {
      sleep_while(job, seen);
      now = job.load(std::memory_order_seq_cst);
    }
    sleepers.fetch_sub(1, std::memory_order_relaxed);
    return now;
  }

  void announce() {
    job.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) > 0) wake_all(job);
  }

  void work(int worker) {
    int seen = 0;
    while (true) {
      seen = next_job(seen);
      if (stop) return;
      (*function)(worker);
      barrier(worker);
    }
  }

  void stop_and_join() {
    if (::getpid() != process) {
      // A child of fork has no such threads to wait for.
      for (std::thread& thread : threads) thread.detach();
      return;
    }
    stop = true;
    announce();
    for (std::thread& thread : threads) thread.join();
  }

  const int workers;
  const pid_t process = ::getpid();  // that has the threads
  int spins = 0;
  std::unique_ptr<Slot[]> slots;
  std::vector<std::thread> threads;
  alignas(cache_line) std::atomic<uint64_t> released{0};  // barriers that are over
  alignas(cache_line) std::atomic<int> job{0};            // counts runs; wraps around harmlessly
  const std::function<void(int)>* function = nullptr;     // published by `job`, as is `stop`
  bool stop = false;
  alignas(cache_line) std::atomic<int> sleepers{0};
};

ThreadPool::ThreadPool(int workers) : impl_(std::make_unique<Impl>(std::max(1, workers))) {
  try {
    for (int i = 1; i < impl_->workers; ++i) {
      impl_->threads.emplace_back([impl = impl_.get(), i] { impl->work(i); });
    }
  } catch (...) {
    impl_->stop_and_join();
    throw;
  }
}

ThreadPool::~ThreadPool() { impl_->stop_and_join(); }

int ThreadPool::workers() const { return impl_->workers; }

void ThreadPool::run(const std::function<void(int)>& f) {
  impl_->function = &f;
  if (impl_->workers > 1) impl_->announce();
  f(0);
  impl_->barrier(0);
}

void ThreadPool::barrier(int worker) { impl_->barrier(worker); }

}  // namespace sinter::runtime
