// The GPU that the CPU plays finds what kernels may not do.
#include "tests/codegen/simt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "codegen/compile/object_cache.h"
#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kSource = R"(
#include "sinter.h"
using namespace sinter;

// out[block] = the sum over the block of the lane that the next lane of the wave has.
SINTER_PHASE(exchange) {
  int* const shared = reinterpret_cast<int*>(shared_memory());
  shared[thread()] = static_cast<int>(shuffle(static_cast<u32>(thread()), lane() + 1));
  barrier();
  int sum = 0;
  for (int i = 0; i < threads; ++i) sum += shared[i] == i + 1 || shared[i] == i + 1 - wave_size;
  if (thread() == 0) arg<int>(launch, 0)[launch->worker] = sum + launch->workers;
}
SINTER_PHASE(half_shuffles) {
  if (lane() % 2 == 0) *arg<int>(launch, 0) = static_cast<int>(shuffle(1, 0));
}
SINTER_PHASE(half_waits) {
  if (thread() < threads / 2) barrier();
}
SINTER_PHASE(wave_shuffles_at_a_barrier) {
  if (lane() == 3) {
    barrier();
  } else {
    *arg<int>(launch, 0) = static_cast<int>(shuffle(1, 0));
    barrier();
  }
}
SINTER_PHASE(writes_behind) {
  if (launch->worker == 1) shared_memory()[threads * 4 - 4] = 0;
}
SINTER_PHASE(forgets_a_barrier) {
  if (wave() == 0) shared_memory()[lane()] = 1;
  if (thread() == threads - 1) *arg<int>(launch, 0) = shared_memory()[0];
}
SINTER_EARLY_PHASE(awaits) {
  int* const out = arg<int>(launch, 0);
  const int before = out[launch->worker];
  await_phases();
  if (thread() == 0) out[launch->worker] = before == -1 ? out[launch->worker] + 1 : -2;
}
SINTER_EARLY_PHASE(writes_ahead) {
  arg<int>(launch, 0)[3] = 7;
  await_phases();
}
SINTER_EARLY_PHASE(never_awaits) {
  if (thread() == 0) arg<int>(launch, 0)[launch->worker] = 1;
}
SINTER_EARLY_PHASE(one_block_awaits) {
  if (launch->worker != 2) return;
  await_phases();
  if (thread() == 0) arg<int>(launch, 0)[2] = 1;
}
SINTER_EARLY_PHASE(half_awaits) {
  if (wave() == 0) await_phases();
}
// Every block but the last hands a number to the next, which waits for it with some of its threads.
SINTER_PHASE(hands_on) {
  u32* const handed = arg<u32>(launch, 0);
  const int me = launch->worker;
  u32 got = 1;
  if (me > 0 && lane() % 3 == 1) {
    while ((got = load_word(&handed[me - 1])) == 0) look_again();
  }
  got = shuffle(got, 1);
  barrier();
  if (thread() == 0) store_word(&handed[me], got + 1);
}
SINTER_PHASE(waits_for_itself) {
  u32* const handed = arg<u32>(launch, 0);
  while (load_word(&handed[launch->worker]) == 0) look_again();
  store_word(&handed[launch->worker], 1);
}
SINTER_PHASE(reads_fresh) {
  bool poisoned = true;
  for (int i = 0; i < threads * 4; ++i) poisoned = poisoned && shared_memory()[i] == 0xff;
  barrier();
  shared_memory()[thread()] = 1;
  if (thread() == 7) arg<int>(launch, 0)[launch->worker] = poisoned ? 1 : 0;
}
)";

class Simt : public ::testing::Test {
 protected:
  void run_everywhere(const std::string& kernel, const Grid& grid) {
    for (const TestTarget& on : runnable_targets(Device::gpu)) {
      SCOPED_TRACE(on.target.name);
      const auto shared = compile_shared(kSource, on.target);
      ASSERT_TRUE(shared.ok()) << shared.status();
      const LoadedCode code(*shared);
      SimtMachine machine(on.wave);
      // Twice: an error leaves the machine as good as new.
      for (int i = 0; i < 2; ++i) {
        std::memset(out, 0, sizeof(out));
        GpuArguments arguments{};
        arguments.args[0] = out;
        status = machine.run(code.find_simt(kernel), arguments, grid);
        check();
      }
    }
  }
  std::function<void()> check;
  absl::Status status;
  int out[4] = {};
  static constexpr int64_t kShared = gpu_block_threads * 4;
};

// What the phase before writes is there for who has awaited it, with what other blocks wrote.
TEST_F(Simt, WhatIsReadOrWrittenTooEarlyIsNotThere) {
  const Grid grid{4, false, kShared, {{reinterpret_cast<uint8_t*>(out), sizeof(out)}}};
  check = [&] {
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_THAT(out, ::testing::ElementsAre(1, 1, 1, 1));
  };
  run_everywhere("awaits", grid);
  check = [&] {
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_THAT(out, ::testing::ElementsAre(0, 0, 0, 0));
  };
  run_everywhere("writes_ahead", grid);
  check = [&] {
    EXPECT_THAT(std::string(status.message()), HasSubstr("no block awaits the phase before"));
  };
  run_everywhere("never_awaits", grid);
  check = [&] { EXPECT_THAT(std::string(status.message()), HasSubstr("awaits the phase before")); };
  run_everywhere("half_awaits", grid);
  // Blocks without work need not.
  check = [&] {
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_THAT(out, ::testing::ElementsAre(0, 0, 1, 0));
  };
  run_everywhere("one_block_awaits", grid);
  // Who has nothing to wait for may leave it.
  check = [&] { EXPECT_TRUE(status.ok()) << status; };
  run_everywhere("never_awaits", {4, false, kShared});
}

TEST_F(Simt, LanesExchangeValuesAndBlocksRunInEitherOrder) {
  for (const bool descending : {false, true}) {
    check = [&] {
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_THAT(out, ::testing::ElementsAre(259, 259, 259, 0));
    };
    run_everywhere("exchange", {3, descending, kShared});
  }
}

TEST_F(Simt, BlocksWaitForEachOther) {
  for (const bool descending : {false, true}) {
    check = [&] {
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_THAT(out, ::testing::ElementsAre(2, 3, 4, 5));
    };
    run_everywhere("hands_on", {4, descending, kShared});
    check = [&] {
      EXPECT_THAT(std::string(status.message()), HasSubstr("waits for what no block hands over"));
    };
    run_everywhere("waits_for_itself", {2, descending, kShared});
  }
}

TEST_F(Simt, SharedMemoryIsPoisonedForEveryBlock) {
  check = [&] {
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_THAT(out, ::testing::ElementsAre(1, 1, 1, 0));
  };
  run_everywhere("reads_fresh", {3, false, kShared});
}

TEST_F(Simt, WavesRunInEitherOrder) {
  check = [&] { EXPECT_EQ(out[0], 1); };
  run_everywhere("forgets_a_barrier", {1, false, kShared});
  check = [&] { EXPECT_EQ(out[0], 0xff); };
  run_everywhere("forgets_a_barrier", {1, true, kShared});
}

TEST_F(Simt, ThreadsThatDoNotComeAreErrors) {
  check = [&] {
    EXPECT_THAT(status.message(), HasSubstr("thread 0 is at a shuffle and thread 1 has finished"));
  };
  run_everywhere("half_shuffles", {1, false, kShared});
  check = [&] {
    EXPECT_THAT(status.message(),
                HasSubstr("thread 0 is at a barrier and thread 128 has finished"));
  };
  run_everywhere("half_waits", {1, false, kShared});
  check = [&] {
    EXPECT_THAT(status.message(),
                HasSubstr("thread 0 is at a shuffle and thread 3 is at a barrier"));
  };
  run_everywhere("wave_shuffles_at_a_barrier", {1, false, kShared});
}

TEST_F(Simt, WritesBehindSharedMemoryAreErrors) {
  check = [&] { EXPECT_THAT(status.message(), HasSubstr("block 1 wrote behind its 1020 bytes")); };
  run_everywhere("writes_behind", {3, false, kShared - 4});
}

}  // namespace
}  // namespace sinter::codegen::test
