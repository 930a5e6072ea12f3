#include "tests/codegen/simt.h"

#include <fmt/format.h>

#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>

namespace sinter::codegen::test {

namespace {

constexpr size_t kStackBytes = size_t{256} << 10;
constexpr uint8_t kPoison = 0xff;

// Where a thread stopped.
enum class Stop { done, barrier, shuffle };

std::string_view text(Stop stop) {
  switch (stop) {
    case Stop::done:
      return "has finished";
    case Stop::barrier:
      return "is at a barrier";
    case Stop::shuffle:
      return "is at a shuffle";
  }
  return "";
}

}  // namespace

// Fibers live longer than blocks: each runs one kernel after another.
struct SimtMachine::Block {
  struct Thread {
    boost::context::fiber fiber;      // while the scheduler runs
    boost::context::fiber scheduler;  // while the thread runs
    Stop stop = Stop::done;
    uint32_t value = 0;  // brought to a shuffle, then got from it
    int from = 0;
  };

  explicit Block(int lanes) : wave(lanes) {
    machine.barrier = [] { running->pause(Stop::barrier); };
    machine.shuffle = [](unsigned value, int lane) {
      Thread& mine = running->thread(running->machine.thread);
      mine.value = value;
      mine.from = lane;
      running->pause(Stop::shuffle);
      return mine.value;
    };
    for (Thread& thread : threads)
      thread.fiber = boost::context::fiber(std::allocator_arg,
                                           boost::context::protected_fixedsize_stack(kStackBytes),
                                           [this, &thread](boost::context::fiber&& scheduler) {
                                             thread.scheduler = std::move(scheduler);
                                             while (!ending) {
                                               kernel.function(arguments);
                                               pause(Stop::done, thread);
                                             }
                                             return std::move(thread.scheduler);
                                           });
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    ending = true;
    for (Thread& thread : threads) thread.fiber = std::move(thread.fiber).resume();
  }

  Thread& thread(int number) { return threads[static_cast<size_t>(number)]; }
  const Thread& thread(int number) const { return threads[static_cast<size_t>(number)]; }

  static void pause(Stop stop, Thread& thread) {
    thread.stop = stop;
    thread.scheduler = std::move(thread.scheduler).resume();
  }
  void pause(Stop stop) { pause(stop, thread(machine.thread)); }

  void resume(int number) {
    machine.thread = number;
    Thread& next = thread(number);
    next.fiber = std::move(next.fiber).resume();
  }

  // Runs the lanes of a wave until all of them wait at a barrier or have finished.
  absl::Status run_wave(int first) {
    while (true) {
      for (int lane = 0; lane < wave; ++lane) resume(first + lane);
      if (auto status = expect_together(first, wave); !status.ok()) return status;
      if (thread(first).stop != Stop::shuffle) return absl::OkStatus();
      std::array<uint32_t, gpu_block_threads> brought{};
      for (int lane = 0; lane < wave; ++lane)
        brought[static_cast<size_t>(lane)] = thread(first + lane).value;
      for (int lane = 0; lane < wave; ++lane) {
        Thread& got = thread(first + lane);
        got.value = brought[static_cast<size_t>(got.from & (wave - 1))];
      }
    }
  }

  absl::Status expect_together(int first, int count) const {
    const auto stop = [&](int number) { return thread(number).stop; };
    for (int i = first; i < first + count; ++i)
      if (stop(i) != stop(first))
        return absl::InternalError(fmt::format("block {}: thread {} {} and thread {} {}",
                                               *kernel.block, first, text(stop(first)), i,
                                               text(stop(i))));
    return absl::OkStatus();
  }

  absl::Status run_block(GuardedBuffer& shared, bool descending) {
    std::fill_n(shared.data(), shared.bytes(), kPoison);
    machine.shared = shared.data();
    do {
      for (int i = 0; i < gpu_block_threads; i += wave) {
        const int first = descending ? gpu_block_threads - wave - i : i;
        if (auto status = run_wave(first); !status.ok()) return status;
      }
      if (auto status = expect_together(0, gpu_block_threads); !status.ok()) return status;
    } while (threads[0].stop != Stop::done);
    if (shared.intact()) return absl::OkStatus();
    return absl::InternalError(fmt::format("block {} wrote behind its {} bytes of shared memory",
                                           *kernel.block, shared.bytes()));
  }

  static thread_local Block* running;

  int wave;
  SinterSimt machine = {};
  SimtKernel kernel;
  GpuArguments arguments = {};
  bool ending = false;
  std::array<Thread, gpu_block_threads> threads;
};

thread_local SimtMachine::Block* SimtMachine::Block::running = nullptr;

SimtMachine::SimtMachine(int wave) : block_(std::make_unique<Block>(wave)) {}
SimtMachine::SimtMachine(SimtMachine&&) noexcept = default;
SimtMachine::~SimtMachine() = default;

absl::Status SimtMachine::run(const SimtKernel& kernel, GpuArguments arguments, const Grid& grid) {
  block_->kernel = kernel;
  block_->arguments = arguments;
  block_->arguments.workers = grid.blocks;
  Block::running = block_.get();
  *kernel.machine = &block_->machine;
  GuardedBuffer shared(grid.shared_bytes, 0, kPoison);
  absl::Status status;
  for (int i = 0; i < grid.blocks && status.ok(); ++i) {
    *kernel.block = grid.descending ? grid.blocks - 1 - i : i;
    status = block_->run_block(shared, grid.descending);
  }
  if (status.ok()) return status;
  // Threads that wait will never finish, and their stacks cannot be unwound: they are left alone.
  const int wave = block_->wave;
  (void)block_.release();
  block_ = std::make_unique<Block>(wave);
  return status;
}

}  // namespace sinter::codegen::test
