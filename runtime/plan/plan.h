// The plan: everything a machine needs to run a model, in one file.
//
//   offset 0   "SINTERPL", u32 major, u32 minor, u64 header offset, u64 header bytes,
//              u64 header checksum; zeros up to 4096
//   sections   each starts at the first multiple of 4096 after the one before it, with
//              zeros in between
//   header     JSON, the fields of `Plan` below; it starts like a section and the file
//              ends with it. Sections are named there with offset, bytes and checksum
//
// All integers little-endian; checksums are XXH3 of 64 bits (runtime/plan/checksum.h).
// The header's covers the 32 bytes of the file before it and then the JSON, so no byte of the file
// is left unchecked.
//
// Version rule: a reader refuses another major version, and a minor version newer than its own.
// Major changes when an old reader would compute wrong numbers (kernel ABI, layouts); minor when
// fields are added that old plans lack. Version 3.0 is the first of steps of many sequences, 3.1
// the first with rings, 3.2 the first with the entry of a head that drafts tokens, 4.0 the first
// whose phases have up to 32 arguments.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sinter::runtime {

inline constexpr uint32_t plan_major = 4;
inline constexpr uint32_t plan_minor = 0;

// A run of bytes in the file.
struct Section {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t checksum = 0;
  auto operator<=>(const Section&) const = default;
};

// How the bytes of a synthetic weight are made at load; see runtime/plan/synthetic.h.
struct Fill {
  enum class Kind {
    bits,     // uniform random bytes: any code is a valid code
    ternary,  // bytes whose 2-bit fields are uniform in 0..2
    uniform,  // numbers of `dtype` uniform in [low, high)
    paired,   // the biases of the scales written by the fill before it: -factor * scale, element by
              // element
  };
  Kind kind = Kind::bits;
  std::string dtype;    // "f32", "f16" or "bf16"; for uniform also "e8m0" or "e4m3"
  uint64_t offset = 0;  // within the weights
  uint64_t bytes = 0;
  double low = 0, high = 0;
  double factor = 0;
};

// A weight as stored in the plan, in the layout that the kernels read.
struct PlanWeight {
  std::string name;
  std::string type;     // the IR's text form, e.g. "weight<512x256, symmetric b1 z0.5 g128 f16>"
  std::string layout;   // e.g. "cpu16"
  uint64_t offset = 0;  // within the weights, a multiple of 64
  uint64_t bytes = 0;   // with padding
  double bits = 0;      // per number, without padding
};

// What steps leave for later ones.
struct PlanState {
  enum class Kind {
    paged,  // by position: keys and values. Lies in pages (kernel_abi.h)
    ring,   // by position, of the last ones alone, in pages of the sequence's own: kernel_abi.h
    fixed,  // one value, whatever the position: a recurrent matrix
  };
  std::string name;
  Kind kind = Kind::paged;
  std::string format;               // of its numbers: "f16"
  uint64_t bytes_per_position = 0;  // of paged state
  uint64_t fixed_bytes = 0;         // of the others, for each sequence
  uint64_t positions = 0;           // that a ring holds, in whole pages
  uint64_t window = 0;              // that a row sees of a ring, its own among them
};

// Names of PlanState::Kind, in its order: in plans and in the text form of graphs.
inline constexpr const char* state_kinds[] = {"paged", "ring", "fixed"};

// Where states lie: paged ones one after another in a page, the others in the fixed state of a
// sequence. The compiler, the runtime and the checks of plans have it from here.
struct StateLayout {
  std::vector<uint64_t> offsets;  // of each state, in a page or in the fixed state
  uint64_t page_bytes = 0;        // of all paged states
  uint64_t fixed_bytes = 0;       // of all others, a multiple of 64

  StateLayout() = default;
  explicit StateLayout(const std::vector<PlanState>& states);  // saturates
  uint64_t bytes(int64_t pages, int64_t sequences) const;      // saturates
};

// How many positions a sequence keeps at least, unless it keeps none, when some are taken back of
// which `written` were ever written: all where states have no positions, those behind which a row
// would see what a ring has overwritten.
int64_t least_kept(const std::vector<PlanState>& states, int64_t written);

// Where an argument of a phase lies.
struct Argument {
  enum class Region {
    weights,  // offset within the weights
    state,    // `index` into Plan::states
    arena,    // offset within the activations' arena
    logits,   // float32 rows [vocab_size]; the step says which
    hidden,   // float32 rows [hidden_size]; the step says which
  };
  Region region = Region::arena;
  uint64_t offset = 0;
  uint32_t index = 0;
};

// One kernel call of a step. Phases run in order, with a barrier between them.
struct Phase {
  std::string name;     // "layers.3.gate_up"
  std::string what;     // ops, e.g. "rms_norm, matmul, silu, mul"
  uint32_t kernel = 0;  // index into Plan::kernels
  std::vector<Argument> arguments;
  uint64_t weight_bytes = 0;  // read per call
  double operations = 0;      // multiply-adds per row
  // For decode, on the best target of the first code object's family.
  double predicted_us = 0;
  // For GPUs: how many blocks have work, `blocks` times the steps of `rows_per_block` rows when
  // that is not 0; and the shared memory of a block. Any number of blocks gives the same result.
  uint32_t blocks = 1;
  uint32_t rows_per_block = 0;
  uint32_t shared_bytes = 0;
};

// The phases of a step. Several schedules may serve a step; the one for the fewest rows is taken.
struct Schedule {
  enum class Entry {
    main,   // from tokens to logits
    probe,  // what `probes` says is computed
    // From tokens and hidden states to logits, of a multi-token-prediction head. Steps of main
    // leave the hidden state of every row; one of this entry reads that of the position that its
    // row continues, and leaves its own there.
    mtp,
  };
  std::string name;  // "decode"; no two of a device plan have the same
  Entry entry = Entry::main;
  int64_t most_rows = 1;  // that a step may have
  std::vector<Phase> phases;
};

// What a kernel does with one of its arguments and how far that reaches: the sum of these bytes.
// What lies behind them, up to the slack that every buffer has at its end, may be touched but
// changes nothing.
struct Parameter {
  enum class Access {
    read,
    write,   // all of it, before anybody reads it
    update,  // reads what earlier steps left; all zeros in a new session
  };
  Access access = Access::read;
  uint64_t bytes = 0;
  uint64_t bytes_per_row = 0;         // of the step
  uint64_t bytes_per_logits_row = 0;  // of the step
  uint64_t bytes_per_position = 0;    // of paged state
};

struct Kernel {
  std::string symbol;   // C name, the same in every code object
  std::string summary;  // one line for people
  // Of every argument, in order.
  std::vector<Parameter> parameters = {};
  uint64_t scratch_bytes = 0;  // per worker of the host, at least
  uint32_t shared_bytes = 0;   // of a GPU's block, at least
};

// What a kernel occupies on a GPU.
struct KernelResources {
  uint32_t vgprs = 0;          // vector registers per lane
  uint32_t sgprs = 0;          // scalar registers per wave
  uint32_t shared_bytes = 0;   // static shared memory of a block
  uint32_t scratch_bytes = 0;  // private memory per lane; anything but 0 is slow
  uint32_t spills = 0;         // registers spilled to it
  uint32_t occupancy = 0;      // waves that a SIMD can hold, as registers allow
};

struct CodeObject {
  std::string target;  // "x86-64-v4"
  std::string family;  // "host-x86-64", "host-aarch64", "amdgpu", "nvptx"
  std::vector<std::string>
      features;              // that the machine must have, by Linux's names: "avx512f", ...
  uint32_t device_plan = 0;  // index into Plan::device_plans
  // Exporting the kernels: an ELF shared object for CPUs, a code object for AMD, PTX (or a cubin,
  // by its ELF magic) for NVIDIA.
  Section section;
  // Of each kernel, in order; empty where the compiler does not say (CPUs, PTX).
  std::vector<KernelResources> resources;
  // Kernels wait by themselves for what the one before writes (griddepcontrol.wait), so that they
  // may be launched before it has ended.
  bool early_launch = false;
  // GPUs that the code runs on, by name, where its target stands for several.
  std::vector<std::string> machines = {};
};

struct PlanRemark {
  std::string pass;
  bool accepted = false;
  std::string subject;  // node or weight
  std::string reason;
  int64_t bytes_saved = 0;
  int64_t launches_saved = 0;
};

// A dot product that the kernels must compute as the compiler did: of a row of one weight with a
// vector of constants. There is one for every format of weights, so that a wrong decode is found
// before the first token.
struct Probe {
  std::string format;   // "affine b4 g64 f16"
  std::string weight;   // name of the weight
  uint64_t offset = 0;  // in the arena: where the probe schedule leaves the float32
  double expected = 0;
  double tolerance = 0;  // what rounding may change
};

// A token that ends a text, for people.
struct PlanEnd {
  int32_t id = 0;
  std::string text;    // as the vocabulary spells it
  std::string source;  // "eos_token_id of generation_config.json"
};

// What one kind of device runs: its schedules and where everything lies. Code objects of the same
// kind share it.
struct DevicePlan {
  std::string device;       // "host", or a kind of GPUs: "gpu"
  int64_t chunk = 0;        // rows of a step at most
  int64_t logits_rows = 0;  // rows of a step that have logits at most
  std::vector<Kernel> kernels;
  std::vector<Schedule> schedules;
  std::vector<Probe> probes;  // none in synthetic plans
  std::vector<PlanWeight> weights;
  std::vector<PlanState> states;
  std::vector<Fill> fills;    // of a synthetic plan; there are then no sections of weights
  uint64_t weight_bytes = 0;  // of the sections of weights, or of what the fills make
  uint64_t arena_bytes = 0;
  uint64_t scratch_bytes = 0;  // per worker of the host

  // The weights: these sections one after another, each of a multiple of 64 bytes; no weight lies
  // in two. What several device plans read in the same layout is in a section that all of them
  // name.
  std::vector<Section> weights_sections;
  // An absent one has bytes == 0.
  Section source;  // the generated kernel source
  Section memory;  // the memory plan, as text for people

  bool synthetic() const { return !fills.empty(); }
  // The number of the schedule for the fewest rows that serves steps of so many; none when no
  // schedule does.
  std::optional<size_t> schedule_for(Schedule::Entry entry, int64_t rows) const;
  // The phases of that schedule; none when no schedule does.
  const std::vector<Phase>& phases_for(Schedule::Entry entry, int64_t rows) const;
  // Of sequences that hold so many positions each; saturates.
  uint64_t state_bytes(int64_t positions, int64_t sequences = 1) const;
};

struct Plan {
  uint32_t minor = plan_minor;  // version of the file
  // Written by the compiler.
  std::string model;         // folder name or "synthetic <config>"
  std::string architecture;  // "qwen3"
  std::string activations;   // "a8" or "a16"
  std::string compiler;      // version
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;  // of hidden states that steps leave; 0: they leave none
  int64_t max_context = 0;  // positions a session may hold at most
  int64_t layers = 0;
  int64_t parameters = 0;        // numbers in weights, as the model counts them
  std::vector<int32_t> eos_ids;  // tokens that end a text
  std::vector<PlanEnd> ends;     // what is known of them
  int32_t bos_id = -1;
  // Recommended by generation_config.json; negative when absent.
  double temperature = -1, top_p = -1;
  int64_t top_k = -1;

  std::vector<CodeObject> code;
  std::vector<DevicePlan> device_plans;
  uint64_t seed = 0;  // of synthetic weights
  std::vector<PlanRemark> remarks;

  // Sections. An absent one has bytes == 0.
  Section tokenizer;         // tokenizer.json
  Section tokenizer_config;  // tokenizer_config.json
  Section chat_template;
  Section graph;  // the final graph, as IR text

  // The code object that a device plan's predicted times are for: the best of its first one's
  // family; null when there is none.
  const CodeObject* predicted_for(size_t device_plan) const {
    const CodeObject* best = nullptr;
    for (const CodeObject& object : code)
      if (object.device_plan == device_plan && (best == nullptr || object.family == best->family))
        best = &object;
    return best;
  }
};

}  // namespace sinter::runtime
