// What a phase kernel is called with. Shared by the runtime and by generated code, so it is
// freestanding: no includes, no C++ library. Changing anything here changes the plan's major
// version.
#pragma once

namespace sinter {

// The numbers of one step. They live at a fixed address, so that a replayed schedule sees new ones.
struct StepParams {
  int position;     // index of the step's first token in the sequence
  int tokens;       // tokens of this step, >= 1
  int logits_rows;  // the last rows for which logits are computed, 1..tokens
  int capacity;     // positions that the caches hold, a multiple of 16
};

// One worker's share of a phase. Workers of a phase run at the same time and may not wait for each
// other; what one phase writes, the next may read.
struct Launch {
  void* const* args;  // resolved addresses, in the order of the phase's arguments in the plan
  const StepParams* step;
  unsigned char* scratch;  // private to the worker, 64-byte aligned, as large as the plan says
  int worker;              // 0..workers-1
  int workers;
};

using PhaseFunction = void (*)(const Launch*);

// Most arguments that a phase takes.
inline constexpr int max_arguments = 16;

// The one parameter of a GPU kernel, by value. A block is a worker: worker and workers are the
// block's index and the number of blocks.
struct GpuArguments {
  const StepParams* step;
  void* args[max_arguments];
};

}  // namespace sinter
