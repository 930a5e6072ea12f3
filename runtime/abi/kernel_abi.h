// What a phase kernel is called with. Shared by the runtime and by generated code, so it is
// freestanding: no includes, no C++ library. Changing anything here changes the plan's major
// version.
#pragma once

namespace sinter {

// One token of a step.
struct StepRow {
  int token;
  int position;  // in its sequence
  int sequence;  // number of the sequence: its line of the page table, its place in fixed state
  int logits;    // row of the logits buffer that gets this row's logits; -1: none does
};

// A step: rows of any sequences. It lies at a fixed address, so that a replayed schedule sees new
// numbers: StepParams, then StepRow[most_rows], then int[most_rows], of which the first are the
// rows that have logits, in order, then int[most_rows], of each row which row of the hidden states
// it reads and leaves. Rows of one sequence stand together, in order of their positions, which
// follow one another. A row sees the positions 0..position of its own sequence and nothing of
// others.
struct StepParams {
  int rows;         // >= 1
  int logits_rows;  // rows that have logits, 0..rows; in a step of a schedule for one row 1
  int most_rows;    // that the table has room for
  int unused;
};

// Positions of a page. Paged state lies in pages: number `p` of a state is p * page_bytes behind
// its first, where page_bytes, a constant of the plan, holds one page of every paged state. A ring
// is as many pages of one state as hold what a sequence remembers, one after another, which take
// turns: position / page_positions, modulo their number, says which.
inline constexpr int page_positions = 64;

// One worker's share of a phase. Workers of a phase may run at the same time and may not wait for
// each other; what one phase writes, the next may read.
struct Launch {
  void* const* args;  // resolved addresses, in the order of the phase's arguments in the plan
  const StepParams* step;
  const int* pages;  // [sequences][pages_per_sequence]: numbers of pages
  long pages_per_sequence;
  unsigned char* scratch;  // private to the worker, 64-byte aligned, as large as the plan says
  int worker;              // 0..workers-1
  int workers;
};

using PhaseFunction = void (*)(const Launch*);

// Most arguments that a phase takes.
inline constexpr int max_arguments = 32;
// Threads of a block, in every GPU kernel.
inline constexpr int gpu_block_threads = 256;

// The one parameter of a GPU kernel, by value. A block is a worker.
struct GpuArguments {
  const StepParams* step;
  const int* pages;
  void* args[max_arguments];
  int workers;  // blocks of the grid
  int pages_per_sequence;
};

// Every GPU code object has these kernels beside those of the plan:
//
//   sinter_sample  draws the next token of every row of the step that has logits, as
//                  runtime/session/sampler.h defines it, and prepares the next step: args are
//                  logits, SampleParams (one for each sequence), the StepParams (`step` again, to
//                  be written), ring, workspace of gpu_sample_workspace bytes that starts as zeros
//                  and is left so, the size of a ring in tokens (as the pointer's value), and
//                  vocab_size (likewise). Any number of blocks up to gpu_sample_blocks. For row r:
//                  ring[r * size + drawn % size] = the token (or a negative SampleError), which
//                  becomes the row's token (an error 0), position goes up by one, draw and drawn of
//                  its sequence go up by one.
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
  int drawn;           // tokens in the ring so far
};
enum SampleError : int { sample_nan = -1, sample_infinite = -2, sample_none = -3 };
inline constexpr int gpu_sample_blocks = 256;
inline constexpr int gpu_sample_workspace = 65536;
inline constexpr int gpu_sample_shared_bytes = 4096;  // shared memory of a block of sinter_sample

}  // namespace sinter
