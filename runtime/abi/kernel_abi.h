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

// One worker's share of a phase. Workers of a phase may run at the same time and may not wait for
// each other; what one phase writes, the next may read.
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
// Threads of a block, in every GPU kernel.
inline constexpr int gpu_block_threads = 256;

// The one parameter of a GPU kernel, by value. A block is a worker.
struct GpuArguments {
  const StepParams* step;
  void* args[max_arguments];
  int workers;  // blocks of the grid
};

// Every GPU code object has these kernels beside those of the plan:
//
//   sinter_sample  draws the next token from the last row of logits, as
//                  runtime/session/sampler.h defines it, and prepares the next step: args are
//                  logits, SampleParams, the step's tokens, its StepParams (`step` again, to be
//                  written), ring, workspace of gpu_sample_workspace bytes that starts as zeros
//                  and is left so. Any number of blocks up to gpu_sample_blocks. Effects:
//                  tokens[0] = ring[drawn % ring_size] = the token (or a negative SampleError),
//                  draw and drawn go up by one, position by `tokens`, then
//                  tokens = logits_rows = 1.
//   sinter_stream  reads memory as fast as it can: args are the memory, its size in bytes (a
//                  multiple of 16, as the pointer's value), and 4 bytes that are written to
//                  keep the reads from being optimised away.
//
// and, of a plan that was compiled with --persistent:
//
//   sinter_decode  runs the whole decode schedule: args are a table of DecodePhase, how many
//                  there are (as the pointer's value), and 8 bytes that start as zeros, for its
//                  barriers. All of its blocks must be resident at the same time.
struct DecodePhase {
  long kernel;  // index into the plan's kernels
  void* args[max_arguments];
};

struct SampleParams {
  unsigned long seed;
  unsigned long draw;  // number of the next draw
  float scale;         // sampling_scale(temperature); 0 is greedy
  float top_p;         // 1 is off
  int top_k;           // 0 is off
  int vocab_size;
  int drawn;      // tokens in the ring so far
  int ring_size;  // of the ring, in tokens
};
enum SampleError : int { sample_nan = -1, sample_infinite = -2, sample_none = -3 };
inline constexpr int gpu_sample_blocks = 256;
inline constexpr int gpu_sample_workspace = 65536;
inline constexpr int gpu_sample_shared_bytes = 4096;  // shared memory of a block of sinter_sample

}  // namespace sinter
