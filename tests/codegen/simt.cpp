#include "tests/codegen/simt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

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
enum class Stop { done, barrier, shuffle, await, look };

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
    case Stop::look:
      return "waits for another block";
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
    machine.look_again = [] { running->pause(Stop::look); };
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
  // A lane hands over to the next one of its wave, the last to the scheduler. While others look
  // again for what another block hands over, it goes on handing over.
  void pause(Stop stop) {
    thread(current).stop = stop;
    steps += stop != Stop::look;
    do switch_to((current + 1) % wave == 0 ? kScheduler : current + 1);
    while (looking && stop != Stop::look);
  }

  // Runs the lanes of a wave until all of them wait at a barrier or have finished, or one has to
  // wait for another block.
  absl::Status run_wave(int first) {
    while (true) {
      looking = waits(first, wave);
      switch_to(first);
      looking = false;
      if (waits(first, wave)) return absl::OkStatus();
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

  // Whether one of some threads waits for another block.
  bool waits(int first, int count) const {
    return std::any_of(&threads[static_cast<size_t>(first)],
                       &threads[static_cast<size_t>(first)] + count,
                       [](const Thread& of) { return of.stop == Stop::look; });
  }

  absl::Status expect_together(int first, int count) const {
    const auto stop = [&](int number) { return thread(number).stop; };
    for (int i = first; i < first + count; ++i)
      if (stop(i) != stop(first))
        return absl::InternalError(fmt::format("block {}: thread {} {} and thread {} {}",
                                               block_number, first, text(stop(first)), i,
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

  // Makes it block number `number` of a grid.
  void begin(const SimtKernel& its, const GpuArguments& given, const Grid& grid, int block) {
    kernel = its;
    arguments = given;
    arguments.workers = grid.blocks;
    block_number = block;
    descending = grid.descending;
    if (!shared || shared->bytes() != grid.shared_bytes)
      shared.emplace(grid.shared_bytes, 0, kPoison);
    std::fill_n(shared->data(), shared->bytes(), kPoison);
    hide(grid.awaited);
    machine.shared = shared->data();
    awaits = false;
    for (Thread& of : threads) of.stop = Stop::done;
  }

  // Runs until all threads have finished, true, or one waits for another block. May be called again
  // then.
  absl::StatusOr<bool> run() {
    running = this;
    *kernel.machine = &machine;
    *kernel.block = block_number;
    do {
      const bool again = waits(0, gpu_block_threads);  // then the other waves have gone on
      for (int i = 0; i < gpu_block_threads; i += wave) {
        const int first = descending ? gpu_block_threads - wave - i : i;
        if (again && !waits(first, wave)) continue;
        if (auto status = run_wave(first); !status.ok()) return status;
      }
      if (waits(0, gpu_block_threads)) return false;
      if (auto status = expect_together(0, gpu_block_threads); !status.ok()) return status;
      if (threads[0].stop == Stop::await) {
        show();
        awaits = true;
      }
    } while (threads[0].stop != Stop::done);
    show();
    if (shared->intact()) return true;
    return absl::InternalError(fmt::format("block {} wrote behind its {} bytes of shared memory",
                                           block_number, shared->bytes()));
  }

  static thread_local Block* running;

  int wave;
  SinterSimt machine = {};
  SimtKernel kernel;
  GpuArguments arguments = {};
  int block_number = 0;  // in its grid
  bool descending = false;
  std::optional<GuardedBuffer> shared;
  // With what was there.
  std::vector<std::pair<std::span<uint8_t>, std::vector<uint8_t>>> hidden;
  bool awaits = false;  // it has awaited the phase before
  bool ending = false;
  bool looking = false;  // only those lanes run that wait for another block
  int64_t steps = 0;     // that threads have made
  std::array<Thread, gpu_block_threads> threads;
  std::array<boost::context::fiber, gpu_block_threads + 1> fibers;  // of those that do not run
  int current = kScheduler;
  int previous = kScheduler;  // who ran before
};

thread_local SimtMachine::Block* SimtMachine::Block::running = nullptr;

SimtMachine::SimtMachine(int wave) : wave_(wave) {}
SimtMachine::SimtMachine(SimtMachine&&) noexcept = default;
SimtMachine::~SimtMachine() = default;

absl::Status SimtMachine::run(const SimtKernel& kernel, GpuArguments arguments, const Grid& grid) {
  std::vector<std::unique_ptr<Block>> waiting;
  std::unique_ptr<Block> block;
  bool awaits = false;
  // False: it waits for another.
  const auto go_on = [&](Block& of) {
    auto done = of.run();
    awaits = awaits || of.awaits;
    return done;
  };
  // Threads that wait will never finish, and their stacks cannot be unwound: they are left alone.
  const auto give_up = [&](absl::Status status) {
    (void)block.release();
    for (std::unique_ptr<Block>& of : waiting) (void)of.release();
    return status;
  };
  for (int i = 0; i < grid.blocks; ++i) {
    if (spare_.empty()) spare_.push_back(std::make_unique<Block>(wave_));
    block = std::move(spare_.back());
    spare_.pop_back();
    block->begin(kernel, arguments, grid, grid.descending ? grid.blocks - 1 - i : i);
    const auto done = go_on(*block);
    if (!done.ok()) return give_up(done.status());
    (*done ? spare_ : waiting).push_back(std::move(block));
  }
  while (!waiting.empty()) {
    bool moved = false;
    for (std::unique_ptr<Block>& of : waiting) {
      const int64_t before = of->steps;
      const auto done = go_on(*of);
      moved = moved || of->steps != before;
      if (!done.ok()) return give_up(done.status());
      if (*done) spare_.push_back(std::move(of));
    }
    std::erase(waiting, nullptr);
    if (!moved)
      return give_up(absl::InternalError(
          fmt::format("block {} waits for what no block hands over", waiting[0]->block_number)));
  }
  if (!grid.awaited.empty() && !awaits)
    return absl::InternalError("no block awaits the phase before");
  return absl::OkStatus();
}

}  // namespace sinter::codegen::test
