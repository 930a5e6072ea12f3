// Workers take shares of the phase that is open; the one that finishes the last share opens the
// next phase. Nobody has to come: a worker waits only while a share that another took is being
// worked on.
#include "runtime/host/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/host/cpu.h"
#include "runtime/host/worker_count.h"

namespace sinter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int cache_line = 64;
// How long a worker leaves the shares of others to them: longer than they need to see a new phase.
// Less when they did not come to the last one.
constexpr auto patience = std::chrono::microseconds(30);
constexpr auto patience_alone = std::chrono::microseconds(3);
// How long a worker spins before it sleeps: longer than workers that run differ in their shares of
// a decode step, and than the host needs between two steps.
constexpr auto longest_spin = std::chrono::microseconds(100);

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "futexes are plain integers");

void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// Ticks are odd while a phase is open and even between runs. They wrap around.
bool is_open(uint32_t tick) { return tick % 2 != 0; }
bool is_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(b - a) > 0; }

}  // namespace

struct ThreadPool::Impl {
  struct alignas(cache_line) Slot {
    std::atomic<uint32_t> taken{0};  // the last tick at which somebody took this share
    // Of the worker: others did not come for their shares of the last phase.
    bool alone = false;
  };

  // Runs of as many phases: decode, prefill and what is done while loading.
  struct Kind {
    int phases = -1;
    WorkerCount count{1, usable_processors};
  };

  explicit Impl(int count)
      : workers(count),
        slots(new Slot[static_cast<size_t>(count)]),
        shares(static_cast<uint32_t>(count)) {}

  // `share` is less than `shares`, read after the tick `now`.
  bool take(int share, uint32_t now) {
    std::atomic<uint32_t>& taken = slots[static_cast<size_t>(share)].taken;
    // All shares of phases that are over were taken: a worker that comes late finds none.
    uint32_t last = taken.load(std::memory_order_relaxed);
    return is_before(last, now) && taken.compare_exchange_strong(last, now);
  }

  // Of a share that was taken.
  void work_on(int share) {
    (*function)(phase, {share, static_cast<int>(shares.load(std::memory_order_relaxed))});
    if (done.fetch_add(1, std::memory_order_acq_rel) + 1 < shares.load(std::memory_order_relaxed))
      return;
    done.store(0, std::memory_order_relaxed);
    advance(++phase < phases ? 2 : 1);
  }

  void advance(uint32_t ticks) {
    tick.fetch_add(ticks, std::memory_order_seq_cst);
    // Either the sleeper is seen here, or it sees the new tick and does not sleep.
    if (sleepers.load(std::memory_order_seq_cst) > 0) wake_all(tick);
  }

  // Shares of the phase that nobody took.
  bool help(int worker, uint32_t now) {
    bool any = false;
    const int n = static_cast<int>(shares.load(std::memory_order_acquire));
    for (int i = 1; i < n; ++i) {
      const int share = (worker + i) % n;
      if (!take(share, now)) continue;
      any = true;
      work_on(share);
    }
    return any;
  }

  // Waits until the tick is no longer `now`; gives the new one. An open phase is helped to its end.
  uint32_t next_tick(int worker, uint32_t now) {
    uint32_t tick_now = now;
    const auto changed = [&] {
      tick_now = tick.load(std::memory_order_acquire);
      return tick_now != now;
    };
    // A clock takes longer to read than most workers wait.
    for (int i = 0; i < 16; ++i) {
      if (changed()) return tick_now;
      pause_cpu();
    }
    bool& alone = slots[static_cast<size_t>(worker)].alone;
    bool helped = !is_open(now);
    Clock::time_point start = Clock::now();
    for (Clock::time_point time = start; time - start < longest_spin; time = Clock::now()) {
      if (!helped && time - start > (alone ? patience_alone : patience)) {
        helped = true;
        alone = help(worker, now);
        if (alone) {
          lose(time);
          start = Clock::now();
        }
      }
      for (int i = 0; i < 16; ++i) {
        if (changed()) return tick_now;
        pause_cpu();
      }
    }
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    while (tick_now = tick.load(std::memory_order_seq_cst), tick_now == now) sleep_while(tick, now);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
    if (is_open(now)) lose(start + longest_spin);
    return tick_now;
  }

  void lose(Clock::time_point since) {
    const auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - since);
    lost.fetch_add(time.count(), std::memory_order_relaxed);
  }

  // What worker `worker` does in the open phases of a run, from the one at `now` on; gives the tick
  // after the last.
  uint32_t take_part(int worker, uint32_t now) {
    while (is_open(now)) {
      const bool mine = static_cast<uint32_t>(worker) < shares.load(std::memory_order_acquire);
      if (mine && take(worker, now)) work_on(worker);
      now = next_tick(worker, now);
    }
    return now;
  }

  void work(int worker) {
    uint32_t now = 0;
    while (!stop.load(std::memory_order_acquire)) {
      const uint32_t n = shares.load(std::memory_order_acquire);
      if (static_cast<uint32_t>(worker) >= n) {
        sleep_while(shares, n);
      } else {
        now = take_part(worker, next_tick(worker, now));
      }
    }
  }

  // Between runs.
  void set_shares(int n) {
    const auto old = static_cast<int>(shares.load(std::memory_order_relaxed));
    if (n == old) return;
    // Shares that did not exist count as taken, for workers that come late.
    for (int i = old; i < n; ++i)
      slots[static_cast<size_t>(i)].taken.store(tick.load(std::memory_order_relaxed),
                                                std::memory_order_relaxed);
    shares.store(static_cast<uint32_t>(n), std::memory_order_release);
    if (n > old) wake_all(shares);
  }

  WorkerCount& count_of(int n) {
    for (Kind& kind : kinds)
      if (kind.phases == n) return kind.count;
    Kind& kind = kinds[next_kind++ % kinds.size()];
    kind = {n, {workers, usable_processors}};
    return kind.count;
  }

  void run(int count_of_phases, const std::function<void(int, Share)>& f, double work) {
    const Clock::time_point start = Clock::now();
    WorkerCount& count = count_of(count_of_phases);
    set_shares(count.now());
    if (count.now() == 1) {
      for (int i = 0; i < count_of_phases; ++i) f(i, {0, 1});
    } else if (count_of_phases > 0) {
      function = &f;
      phase = 0;
      phases = count_of_phases;
      const uint32_t first = tick.load(std::memory_order_relaxed) + 1;
      advance(1);
      take_part(0, first);
    }
    if (workers > 1)
      count.add({.work = work,
                 .seconds = std::chrono::duration<double>(Clock::now() - start).count(),
                 .lost = 1e-9 * static_cast<double>(lost.exchange(0, std::memory_order_relaxed))});
  }

  void stop_and_join() {
    if (::getpid() != process) {
      // A child of fork has no such threads to wait for.
      for (std::thread& thread : threads) thread.detach();
      return;
    }
    stop.store(true, std::memory_order_release);
    advance(2);
    set_shares(workers);
    for (std::thread& thread : threads) thread.join();
  }

  const int workers;
  const pid_t process = ::getpid();  // that has the threads
  std::unique_ptr<Slot[]> slots;
  std::vector<std::thread> threads;
  std::array<Kind, 4> kinds;
  size_t next_kind = 0;  // to be replaced
  alignas(cache_line) std::atomic<uint32_t> tick{0};
  // Written before the tick that they are for; read by who has a share of it.
  const std::function<void(int, Share)>* function = nullptr;
  int phase = 0;
  int phases = 0;
  alignas(cache_line) std::atomic<uint32_t> done{0};  // shares of the open phase
  alignas(cache_line) std::atomic<uint32_t> shares;   // of a phase; changes between runs alone
  std::atomic<int> sleepers{0};                       // that wait for `tick`
  std::atomic<int64_t> lost{0};                       // nanoseconds, see WorkerCount::Run
  std::atomic<bool> stop{false};
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

void ThreadPool::run(int phases, const std::function<void(int phase, Share share)>& f,
                     double work) {
  impl_->run(phases, f, work);
}

}  // namespace sinter::runtime
