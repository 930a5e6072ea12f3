#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "runtime/host/device.h"
#include "runtime/session/session.h"

namespace sinter::runtime {
namespace {

TEST(ThreadPool, RunsEveryWorkerOnceAndWorkerZeroHere) {
  for (const int workers : {1, 2, 3, 7}) {
    ThreadPool pool(workers);
    EXPECT_EQ(pool.workers(), workers);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(static_cast<size_t>(workers));
      std::thread::id zero;
      pool.run([&](int worker) {
        ++calls[static_cast<size_t>(worker)];
        if (worker == 0) zero = std::this_thread::get_id();
      });
      ASSERT_EQ(calls, std::vector<int>(static_cast<size_t>(workers), 1));
      ASSERT_EQ(zero, std::this_thread::get_id());
    }
  }
}

TEST(ThreadPool, NoOrNegativeWorkersMeanOne) { EXPECT_EQ(ThreadPool(-3).workers(), 1); }

// Each round a worker reads what its neighbour wrote in the round before: plain memory, ordered by
// the barrier alone.
TEST(ThreadPool, WhatWasWrittenBeforeTheBarrierIsSeenAfterIt) {
  for (const int workers : {1, 2, 3, 5}) {  // more workers than processors too
    ThreadPool pool(workers);
    const int rounds = workers <= 2 ? 5000 : 300;
    std::vector<int> cells[2] = {std::vector<int>(static_cast<size_t>(workers)),
                                 std::vector<int>(static_cast<size_t>(workers))};
    std::atomic<int> wrong{0};
    for (int call = 0; call < 3; ++call) {
      pool.run([&](int worker) {
        for (int round = 1; round <= rounds; ++round) {
          cells[round & 1][static_cast<size_t>(worker)] = call * rounds + round;
          pool.barrier(worker);
          const int neighbour = (worker + 1) % workers;
          if (cells[round & 1][static_cast<size_t>(neighbour)] != call * rounds + round) ++wrong;
          pool.barrier(worker);
        }
      });
    }
    EXPECT_EQ(wrong, 0) << workers;
  }
}

TEST(ThreadPool, SleepersWakeUpForTheNextRun) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
    pool.run([&](int) { ++calls; });
  }
  EXPECT_EQ(calls, 60);
}

TEST(ThreadPool, MayBeUsedFromDifferentThreadsInTurn) {
  ThreadPool pool(2);
  std::atomic<int> calls{0};
  for (int i = 0; i < 5; ++i) {
    std::thread([&] { pool.run([&](int) { ++calls; }); }).join();
  }
  EXPECT_EQ(calls, 10);
}

TEST(ThreadPool, PrintsTheCostOfBarrierAndRun) {
  const int workers = detect_host_cpu().threads;
  ThreadPool pool(workers);
  const int rounds = 2000;
  std::vector<double> barriers, runs;
  for (int repeat = 0; repeat < 9; ++repeat) {
    pool.run([&](int worker) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < rounds; ++i) pool.barrier(worker);
      if (worker == 0) {
        barriers.push_back(
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
            rounds);
      }
    });
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds; ++i) pool.run([](int) {});
    runs.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
                   rounds);
  }
  std::sort(barriers.begin(), barriers.end());
  std::sort(runs.begin(), runs.end());
  std::printf("%d workers: barrier median %.0f ns (least %.0f), run median %.0f ns\n", workers,
              barriers[4] * 1e9, barriers[0] * 1e9, runs[4] * 1e9);
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
