#include "tests/codegen/simt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>
#include <vector>

namespace sinter::codegen::test {

namespace {

constexpr size_t kStackBytes = size_t{256} << 10;
constexpr uint8_t kPoison = 0xff;

// Stacks whose hot ends lie in different lines of the first-level cache: at the same place in their
// pages all of them would meet in one set of it, and switching threads would take twice the time.
class StaggeredStack {
 public:
  explicit StaggeredStack(int number) : shift_(static_cast<size_t>(number) % 64 * 64) {}
  boost::context::stack_context allocate() { return shifted(pages_.allocate(), shift_); }
  void deallocate(boost::context::stack_context& stack) {
    auto whole = shifted(stack, 0 - shift_);
    pages_.deallocate(whole);
  }

 private:
  static boost::context::stack_context shifted(boost::context::stack_context stack, size_t by) {
    stack.sp = static_cast<char*>(stack.sp) - by;
    stack.size -= by;
    return stack;
  }
  boost::context::protected_fixedsize_stack pages_{kStackBytes};
  size_t shift_;
};

// Where a thread stopped.
enum class Stop { done, barrier, shuffle, await };

std::string_view text(Stop stop) {
  switch (stop) {
    case Stop::done:
      return "has finished";
    case Stop::barrier:
      return "is at a barrier";
    case Stop::shuffle:
      return "is at a shuffle";
    case Stop::await:
      return "awaits the phase before";
  }
  return "";
}

}  // namespace

// Fibers live longer than blocks: each runs one kernel after another.
struct SimtMachine::Block {
  static constexpr int kScheduler = gpu_block_threads;  // the number of what runs the waves

  struct Thread {
    Stop stop = Stop::done;
    uint32_t value = 0;  // brought to a shuffle, then got from it
    int from = 0;
  };

  explicit Block(int lanes) : wave(lanes) {
    machine.barrier = [] { running->pause(Stop::barrier); };
    machine.await = [] { running->pause(Stop::await); };
    machine.shuffle = [](unsigned value, int lane) {
      Thread& mine = running->thread(running->current);
      mine.value = value;
      mine.from = lane;
      running->pause(Stop::shuffle);
      return mine.value;
    };
    for (int i = 0; i < gpu_block_threads; ++i)
      fiber(i) = boost::context::fiber(std::allocator_arg, StaggeredStack(i),
                                       [this](boost::context::fiber&& from) {
                                         fiber(previous) = std::move(from);
                                         while (!ending) {
                                           kernel.function(arguments);
                                           pause(Stop::done);
                                         }
                                         return std::move(fiber(kScheduler));
                                       });
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    ending = true;
    previous = kScheduler;
    for (int i = 0; i < gpu_block_threads; ++i) fiber(i) = std::move(fiber(i)).resume();
  }

  boost::context::fiber& fiber(int number) { return fibers[static_cast<size_t>(number)]; }
  Thread& thread(int number) { return threads[static_cast<size_t>(number)]; }
  const Thread& thread(int number) const { return threads[static_cast<size_t>(number)]; }

  // Returns when another thread, or the scheduler, switches back.
  void switch_to(int number) {
    previous = current;
    current = machine.thread = number;
    boost::context::fiber from = std::move(fiber(number)).resume();
    fiber(previous) = std::move(from);
  }
  // A lane hands over to the next one of its wave, the last to the scheduler.
  void pause(Stop stop) {
    thread(current).stop = stop;
    switch_to((current + 1) % wave == 0 ? kScheduler : current + 1);
  }

  // Runs the lanes of a wave until all of them wait at a barrier or have finished.
  absl::Status run_wave(int first) {
    while (true) {
      switch_to(first);
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

  // What the phase before writes is not there yet.
  void hide(const std::vector<std::span<uint8_t>>& awaited) {
    for (const std::span<uint8_t> bytes : awaited) {
      hidden.emplace_back(bytes, std::vector<uint8_t>(bytes.begin(), bytes.end()));
      std::ranges::fill(bytes, kPoison);
    }
  }
  void show() {
    for (const auto& [bytes, kept] : hidden) std::ranges::copy(kept, bytes.begin());
    hidden.clear();
  }

  absl::Status run_block(GuardedBuffer& shared, const Grid& grid) {
    std::fill_n(shared.data(), shared.bytes(), kPoison);
    hide(grid.awaited);
    machine.shared = shared.data();
    do {
      for (int i = 0; i < gpu_block_threads; i += wave) {
        const int first = grid.descending ? gpu_block_threads - wave - i : i;
        if (auto status = run_wave(first); !status.ok()) return status;
      }
      if (auto status = expect_together(0, gpu_block_threads); !status.ok()) return status;
      if (threads[0].stop == Stop::await) {
        show();
        awaits = true;
      }
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
  // With what was there.
  std::vector<std::pair<std::span<uint8_t>, std::vector<uint8_t>>> hidden;
  bool awaits = false;  // a block of the kernel has awaited the phase before
  bool ending = false;
  std::array<Thread, gpu_block_threads> threads;
  std::array<boost::context::fiber, gpu_block_threads + 1> fibers;  // of those that do not run
  int current = kScheduler;
  int previous = kScheduler;  // who ran before
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
  block_->awaits = false;
  *kernel.machine = &block_->machine;
  GuardedBuffer shared(grid.shared_bytes, 0, kPoison);
  absl::Status status;
  for (int i = 0; i < grid.blocks && status.ok(); ++i) {
    *kernel.block = grid.descending ? grid.blocks - 1 - i : i;
    status = block_->run_block(shared, grid);
    block_->show();
  }
  if (status.ok() && !grid.awaited.empty() && !block_->awaits)
    return absl::InternalError("no block awaits the phase before");
  if (status.ok()) return status;
  // Threads that wait will never finish, and their stacks cannot be unwound: they are left alone.
  const int wave = block_->wave;
  (void)block_.release();
  block_ = std::make_unique<Block>(wave);
  return status;
}

}  // namespace sinter::codegen::test
