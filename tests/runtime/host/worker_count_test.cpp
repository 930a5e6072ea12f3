#include "runtime/host/worker_count.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace sinter::runtime {
namespace {

int many_processors() { return 1000; }
int two_processors() { return 2; }

struct Machine {
  std::function<double(int)> speed;  // of so many workers
  std::function<double(int)> loss;   // part of their time
};

// Runs of 10 ms; gives the mean number of workers in the last `seconds`.
double mean_count(WorkerCount& count, const Machine& machine, double seconds) {
  double sum = 0;
  const int runs = static_cast<int>(seconds / 0.01);
  for (int i = 0; i < runs; ++i) {
    const int n = count.now();
    sum += n;
    count.add({.work = 0.01 * machine.speed(n), .seconds = 0.01, .lost = 0.01 * machine.loss(n)});
  }
  return sum / runs;
}

double linear(int n) { return n; }
double no_loss(int) { return 0; }

TEST(WorkerCount, AllTakePartWhileNobodyWaits) {
  WorkerCount count(8, many_processors);
  // Even where fewer would be faster: that is not looked for.
  EXPECT_EQ(mean_count(count, {[](int n) { return 10.0 - n; }, no_loss}, 60), 8);
}

TEST(WorkerCount, FewerStayWhereTheyAreFaster) {
  WorkerCount count(2, many_processors);
  const Machine busy{[](int n) { return n == 1 ? 1 : 0.7; },
                     [](int n) { return n == 1 ? 0 : 0.4; }};
  mean_count(count, busy, 1);
  EXPECT_EQ(count.now(), 1);
  EXPECT_LT(mean_count(count, busy, 60), 1.03);
}

TEST(WorkerCount, AllStayWhereTheyAreFasterThoughTheyWait) {
  WorkerCount count(2, many_processors);
  const Machine shared{[](int n) { return n == 1 ? 1 : 1.5; }, [](int) { return 0.3; }};
  mean_count(count, shared, 1);
  EXPECT_GT(mean_count(count, shared, 60), 1.97);
}

TEST(WorkerCount, AllStayWhereFewerAreAsFast) {
  WorkerCount count(2, many_processors);
  const Machine equal{[](int) { return 1.0; }, [](int) { return 0.3; }};
  mean_count(count, equal, 1);
  EXPECT_GT(mean_count(count, equal, 60), 1.97);
}

// Two workers to a core wait for each other all the time. Speeds that are measured vary.
TEST(WorkerCount, ChanceDoesNotLeadDownwards) {
  WorkerCount count(8, many_processors);
  std::mt19937 random(3);
  std::uniform_real_distribution<double> noise(0.9, 1.1);
  const Machine cores{[&](int n) { return (4 + 0.3 * n) * noise(random); },
                      [](int) { return 0.4; }};
  mean_count(count, cores, 10);
  EXPECT_GT(mean_count(count, cores, 120), 7.5);
}

TEST(WorkerCount, MoreThanProcessorsGoesToTheirNumber) {
  WorkerCount count(16, two_processors);
  const Machine two{[](int n) { return n > 2 ? 1.2 : n; }, [](int n) { return n > 2 ? 0.5 : 0; }};
  EXPECT_EQ(mean_count(count, two, 0.03), 16);
  EXPECT_EQ(mean_count(count, two, 0.1), 2);
  EXPECT_LT(mean_count(count, two, 60), 2.03);
}

TEST(WorkerCount, AllComeBackWhenProcessorsAreFree) {
  WorkerCount count(4, many_processors);
  const Machine busy{[](int n) { return 1.0 / n; }, [](int n) { return n == 1 ? 0 : 0.5; }};
  mean_count(count, busy, 60);
  EXPECT_EQ(count.now(), 1);
  const Machine free{linear, no_loss};
  mean_count(count, free, 8);
  EXPECT_EQ(count.now(), 4);
}

// A moment of loss is no reason.
TEST(WorkerCount, TriesNothingBeforeLossLasts) {
  WorkerCount count(2, many_processors);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(mean_count(count, {linear, [](int) { return 0.5; }}, 0.06), 2);
    EXPECT_EQ(mean_count(count, {linear, no_loss}, 0.1), 2);
  }
}

}  // namespace
}  // namespace sinter::runtime
