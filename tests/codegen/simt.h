// A GPU played by one thread of the CPU: the threads of a block are fibers that take turns, blocks
// run one after another, or later where they wait for what another hands over. What a real GPU
// would get wrong silently, or hang on, is an error here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/abi/kernel_abi.h"
#include "tests/codegen/guarded_buffer.h"

namespace sinter::codegen::test {

// As in codegen/device/gpu/platform.h.
struct SinterSimt {
  int thread;
  unsigned char* shared;
  void (*barrier)();
  unsigned (*shuffle)(unsigned value, int lane);
  void (*await)();
  void (*look_again)();
};

// A kernel of a code object, and the object's two variables that say where its code runs.
struct SimtKernel {
  void (*function)(GpuArguments) = nullptr;
  SinterSimt** machine = nullptr;  // sinter_simt
  int* block = nullptr;            // sinter_simt_block
};

struct Grid {
  int blocks = 1;
  // Order in which blocks run, and the waves of a block between barriers: with a barrier missing,
  // one order reads what is not yet written.
  bool descending = false;
  int64_t shared_bytes = 0;  // of a block, filled with 0xff; what follows it faults or is checked
  // What a block may touch once it has awaited the phase before; until then it finds 0xff there,
  // and what it writes is lost. A block with nothing to do may leave without.
  std::vector<std::span<uint8_t>> awaited = {};
};

class SimtMachine {
 public:
  explicit SimtMachine(int wave);  // lanes of a wave
  SimtMachine(SimtMachine&&) noexcept;
  ~SimtMachine();

  // Runs all blocks. Errors: a thread that does not come to a shuffle of its wave or to a barrier
  // of its block, because it went another way or has finished; a write behind the shared memory;
  // blocks that wait for each other;
  // no block that awaits the phase before though there is something to await.
  absl::Status run(const SimtKernel& kernel, GpuArguments arguments, const Grid& grid);

 private:
  struct Block;
  int wave_;
  std::vector<std::unique_ptr<Block>> spare_;  // that run nothing
};

}  // namespace sinter::codegen::test
