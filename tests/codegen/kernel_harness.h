// Kernels of small models as machine code, and memory to run them on in which every byte is
// accounted for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "codegen/regions/lower.h"
#include "codegen/targets/target.h"
#include "ir/interpreter.h"
#include "runtime/abi/kernel_abi.h"
#include "tests/codegen/guarded_buffer.h"
#include "tests/codegen/random_models.h"
#include "tests/codegen/simt.h"

namespace sinter::codegen::test {

// What kernels are compiled for and where they run: a CPU of the target table, or a GPU that the
// CPU plays.
struct TestTarget {
  Target target;
  int wave = 0;  // lanes of a wave of the GPU; 0: no GPU

  Device device() const { return wave == 0 ? Device::host : Device::gpu; }
};

// Targets of a device whose code this machine can run; none is a test failure.
std::vector<TestTarget> runnable_targets(Device device);

// The schedules of a model, in order.
enum class Mode : size_t { decode, prefill, few };
// `few`: rows of the last one; `chunk`: of that for prompts.
std::vector<ScheduleShape> schedules(int64_t few = 8, int64_t chunk = 512);

// The kernels of one model in one activation mode.
struct Kernels {
  const TestModel* model = nullptr;
  Activations activations = Activations::a8;
  int wave = 0;  // as in TestTarget
  Lowering lowering;
  // Of each phase of each schedule: on the host, or on a GPU.
  std::vector<std::vector<PhaseFunction>> host;
  std::vector<std::vector<SimtKernel>> simt;

  Device device() const { return wave == 0 ? Device::host : Device::gpu; }
  std::string name() const;
  const LoweredSchedule& schedule(Mode mode) const {
    return lowering.schedules[static_cast<size_t>(mode)];
  }
};

// Machine code, loaded; functions stay valid as long as it lives.
class LoadedCode {
 public:
  LoadedCode() = default;
  explicit LoadedCode(const std::vector<uint8_t>& shared_object);
  LoadedCode(LoadedCode&& other) noexcept;
  LoadedCode& operator=(LoadedCode&& other) noexcept;
  ~LoadedCode();
  template <class T>
  T find(const std::string& symbol) const {
    return reinterpret_cast<T>(address(symbol));
  }
  // A kernel for a GPU that the CPU plays.
  SimtKernel find_simt(const std::string& symbol) const;

 private:
  void* address(const std::string& symbol) const;

  int file_ = -1;
  void* handle_ = nullptr;
};

struct Suite {
  LoadedCode code;
  std::vector<Kernels> kernels;
};

// A model and how its activations are multiplied.
struct Variant {
  const TestModel* model = nullptr;
  Activations activations = Activations::a8;
};

// Compiles all variants as one translation unit. Models must outlive the suite. A failure fails the
// test and leaves the suite empty.
Suite compile(const std::vector<Variant>& variants, const TestTarget& target, int64_t few = 8,
              int64_t chunk = 512);

// How the workers of a phase follow one another. Blocks of a GPU never run at the same time.
enum class Order { ascending, descending, threads };

// As many workers as the plan says that a phase has work for.
inline constexpr int kPlannedWorkers = 0;

// Of one sequence, or of the rows that are said.
struct Step {
  Mode mode = Mode::decode;
  std::vector<int32_t> tokens;
  int64_t position = 0;
  int64_t logits_rows = 1;
  std::vector<StepRow> rows = {};  // none: those of `tokens` in sequence 0
  int workers = 1;
  Order order = Order::ascending;

  int64_t count() const { return rows.empty() ? std::ssize(tokens) : std::ssize(rows); }
  std::vector<StepRow> all_rows() const;
  std::string name() const;
};

// Every tensor that a phase left in memory, and the tokens.
using StepValues = std::map<ir::ValueId, ir::Array>;

// The memory of sequences that hold up to `capacity` positions each. Their pages lie in no order.
class Machine {
 public:
  Machine(const Kernels& kernels, int64_t capacity, int64_t sequences = 1);

  // Runs the phases of a step one after another; activations start as NaN. Fails the test when a
  // phase writes where it may not. Other inputs of the step than `workers` and `order` being equal,
  // it may be run again at the same position, once fixed() is as it was.
  StepValues run(const Step& step);

  // A state's part of the page with that position, as the kernels laid it out.
  std::span<const uint8_t> page(ir::ValueId id, int64_t sequence, int64_t position) const;
  // All pages of all states.
  std::span<const uint8_t> pages() const;
  std::span<uint8_t> pages() { return {states_.data(), static_cast<size_t>(states_.bytes())}; }
  // What all sequences have that has no positions; of one sequence as tensors.
  std::span<uint8_t> fixed() { return {fixed_.data(), static_cast<size_t>(fixed_.bytes())}; }
  StepValues fixed_states(int64_t sequence = 0) const;
  int64_t capacity() const { return pages_per_sequence_ * page_positions; }
  std::span<const uint8_t> pinned(int64_t number) const;

 private:
  void run_on_host(PhaseFunction function, const std::vector<void*>& args, const StepParams& params,
                   const std::vector<GuardedBuffer>& scratch, const Step& step) const;
  absl::Status run_on_gpu(const SimtKernel& kernel, const LoweredPhase& phase,
                          const std::vector<void*>& args, const StepParams& params,
                          const Step& step, std::vector<std::span<uint8_t>> awaited);

  const Kernels& kernels_;
  int64_t pages_per_sequence_;
  std::vector<int32_t> page_table_;
  std::map<ir::ValueId, GuardedBuffer> weights_;
  GuardedBuffer states_;
  GuardedBuffer fixed_;
  std::map<int64_t, GuardedBuffer> pinned_;
  std::optional<SimtMachine> simt_;
};

std::vector<int64_t> bind_shape(const ir::TensorType& type, const Step& step);

std::vector<int32_t> random_tokens(int64_t count, Random& random);

}  // namespace sinter::codegen::test
