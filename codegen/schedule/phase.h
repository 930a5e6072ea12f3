// What lowering makes of a fused graph: phases, the buffers that they share, the room that those
// need.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "codegen/layouts/layout.h"
#include "codegen/schedule/states.h"
#include "ir/graph.h"
#include "runtime/plan/plan.h"

namespace sinter::codegen {

enum class Activations {
  a8,   // int8 with a scale per group of columns
  a16,  // 16-bit integers with a scale per group
};

// Which steps a schedule is for.
struct ScheduleShape {
  std::string name;
  runtime::Schedule::Entry entry = runtime::Schedule::Entry::main;
  int64_t most_rows = 1;  // that a step may have
  bool chunk = false;     // it reads prompts; its kernels are named for rows, not for how many
};

// Rows of a step, at most, that are computed as each is alone, to the last bit. More are read from
// a prompt: there what is fast for many counts.
inline constexpr int64_t kFewRows = 32;

// A buffer that a phase is given the address of.
struct Buffer {
  enum class Kind {
    weight,      // `value` is the weight; `offset` a piece of it (codes, scales, biases)
    state,       // `value` is the state
    activation,  // `value` is computed by one phase and read by others
    temporary,   // written and read within a few phases: `value` numbers it
    pinned,      // zeroed once and never shared: `value` numbers it
    logits,
    hidden,  // states of rows between the model and the head that drafts tokens
  };
  Kind kind = Kind::activation;
  int64_t value = 0;
  int64_t offset = 0;
  bool operator==(const Buffer&) const = default;
};

using Access = runtime::Parameter::Access;

// What a phase does with one of its arguments. The memory plan, early starts and, in a plan,
// dependences follow from these alone.
struct Use {
  Access access = Access::read;
  bool read_back = false;   // it reads what it has written, so nobody else need read it
  bool read_ahead = false;  // a GPU's kernel reads it before it awaits the phase before
};

// A phase before kernels are numbered and buffers have addresses.
struct LoweredPhase {
  std::string name;
  std::string what;     // the ops, for people
  std::string summary;  // one line about the kernel: shapes and formats
  std::string body;     // of the phase function; equal ones, declared alike, become one kernel
  std::vector<Buffer> arguments;
  std::vector<Use> uses;      // of each argument
  int64_t scratch_bytes = 0;  // per worker of the host
  int64_t weight_bytes = 0;   // read per call
  // For GPUs, as in runtime::Phase.
  int64_t blocks = 1;
  int64_t rows_per_block = 0;
  int64_t shared_bytes = 0;
  // How a GPU's kernel is declared: codegen/device/gpu/phase.h. Whether it may begin early is
  // decided when the phase before it is known: codegen/schedule/early_starts.h.
  enum class Kernel { plain, wide, early, paired, alone } kernel = Kernel::plain;
  double macs = 0;  // multiply-adds per row

  // Whether the kernel awaits the phase before by itself, once it has begun.
  bool begins_early() const { return kernel != Kernel::plain && kernel != Kernel::wide; }
};

// How much room a temporary or pinned buffer needs.
struct Room {
  int64_t bytes_per_row = 0;  // times the rows of a step
  int64_t fixed_bytes = 0;
};

struct LoweredSchedule {
  ScheduleShape shape;
  std::vector<LoweredPhase> phases;
  std::map<int64_t, Room> temporaries;
};

// What a phase of the probe schedule computes: the first `rows` rows of a weight times a vector,
// from element `first` of the schedule's results.
struct LoweredProbe {
  ir::ValueId weight = -1;
  int64_t first = 0;
  int64_t rows = 0;
};

struct Lowering {
  std::vector<LoweredSchedule> schedules;
  std::vector<LoweredProbe> probes;  // one of each phase of the schedule of probes
  Buffer probe_results;              // float32; read when that schedule is over
  StateTable states;
  std::map<int64_t, Room> pinned;
  std::map<std::string, int64_t> pinned_numbers;  // by what they are for
  std::map<ir::ValueId, PackedLayout> layouts;    // of every weight that a phase reads
  int64_t scratch_bytes = 0;                      // per worker of the host
};

}  // namespace sinter::codegen
