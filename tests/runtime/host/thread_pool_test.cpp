#include "runtime/host/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/host/bandwidth.h"
#include "runtime/host/cpu.h"
#include "runtime/host/memory.h"

namespace sinter::runtime {
namespace {

TEST(ThreadPool, RunsEveryShareOfEveryPhaseOnce) {
  for (const int workers : {1, 2, 3, 7}) {
    ThreadPool pool(workers);
    EXPECT_EQ(pool.workers(), workers);
    for (const int phases : {0, 1, 50}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(phases * workers));
      std::atomic<int> wrong{0};
      pool.run(phases, [&](int phase, Share share) {
        if (share.count != workers) ++wrong;
        ++calls[static_cast<size_t>(phase * workers + share.index)];
      });
      ASSERT_EQ(wrong, 0);
      for (const std::atomic<int>& count : calls) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, NoOrNegativeWorkersMeanOne) { EXPECT_EQ(ThreadPool(-3).workers(), 1); }

// In each phase a share reads what its neighbour wrote in the one before: plain memory, ordered by
// the phases alone.
TEST(ThreadPool, APhaseSeesWhatTheOneBeforeWrote) {
  for (const int workers : {1, 2, 3, 5}) {  // more workers than processors too
    ThreadPool pool(workers);
    const int phases = workers <= 2 ? 5000 : 300;
    std::vector<int> cells[2] = {std::vector<int>(static_cast<size_t>(workers), -1),
                                 std::vector<int>(static_cast<size_t>(workers), -1)};
    std::atomic<int> wrong{0};
    for (int call = 0; call < 3; ++call) {
      std::ranges::fill(cells[1], -1);
      pool.run(phases, [&](int phase, Share share) {
        const int neighbour = (share.index + 1) % share.count;
        if (cells[(phase + 1) & 1][static_cast<size_t>(neighbour)] != phase - 1) ++wrong;
        cells[phase & 1][static_cast<size_t>(share.index)] = phase;
      });
    }
    EXPECT_EQ(wrong, 0) << workers;
  }
}

// Time that the process was on processors.
double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

TEST(ThreadPool, WhoeverWaitsLongLeavesTheProcessor) {
  ThreadPool pool(4);
  for (const int slow : {0, 1}) {
    const double before = cpu_seconds();
    pool.run(2, [&](int phase, Share share) {
      if (phase == 0 && share.index == slow)
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    });
    EXPECT_LT(cpu_seconds() - before, 0.05) << slow;
  }
}

// With one processor for all workers: who runs does the shares of those that cannot, too.
TEST(ThreadPool, SharesOfWorkersWithoutAProcessorAreDoneByOthers) {
  cpu_set_t all, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(all), &all), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
  {
    ThreadPool pool(4);  // whose threads inherit the mask
    constexpr int phases = 200;
    std::mutex mutex;
    std::map<std::thread::id, int> done;
    pool.run(phases, [&](int, Share) {
      const std::lock_guard<std::mutex> lock(mutex);
      ++done[std::this_thread::get_id()];
    });
    int sum = 0, most = 0;
    for (const auto& [thread, count] : done) {
      sum += count;
      most = std::max(most, count);
    }
    EXPECT_EQ(sum, 4 * phases);
    EXPECT_GT(most, phases);
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof(all), &all), 0);
}

TEST(ThreadPool, SleepersWakeUpForTheNextRun) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
    pool.run([&](Share) { ++calls; });
  }
  EXPECT_EQ(calls, 60);
}

TEST(ThreadPool, MayBeUsedFromDifferentThreadsInTurn) {
  ThreadPool pool(2);
  std::atomic<int> calls{0};
  for (int i = 0; i < 5; ++i) {
    std::thread([&] { pool.run([&](Share) { ++calls; }); }).join();
  }
  EXPECT_EQ(calls, 10);
}

TEST(ThreadPool, PrintsTheCostOfPhaseAndRun) {
  const int workers = detect_host_cpu().threads;
  ThreadPool pool(workers);
  const int rounds = 2000;
  std::vector<double> phases, runs;
  const auto nanoseconds = [&](const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start)
               .count() /
           rounds;
  };
  for (int repeat = 0; repeat < 9; ++repeat) {
    phases.push_back(nanoseconds([&] { pool.run(rounds, [](int, Share) {}); }));
    runs.push_back(nanoseconds([&] {
      for (int i = 0; i < rounds; ++i) pool.run([](Share) {});
    }));
  }
  std::ranges::sort(phases);
  std::ranges::sort(runs);
  std::printf("%d workers: phase median %.0f ns (least %.0f), run median %.0f ns\n", workers,
              phases[4], phases[0], runs[4]);
}

TEST(Bandwidth, IsPositiveAndPrinted) {
  const double rate = measure_streaming_read(0, 256 << 20);
  EXPECT_GT(rate, 1e8);
  std::printf("streaming read: %.1f GB/s\n", rate * 1e-9);
}

TEST(Bandwidth, IsZeroWhenThereIsNoMemoryForIt) {
  EXPECT_EQ(measure_streaming_read(1, 1ull << 60), 0);
}

TEST(PeakResident, GrowsWithUse) {
  std::vector<char> touched(64 << 20, 1);
  EXPECT_GT(peak_resident_bytes(), touched.size());
}

}  // namespace
}  // namespace sinter::runtime
