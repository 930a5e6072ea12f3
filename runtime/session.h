// A loaded model and sequences running on it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/host_device.h"
#include "runtime/plan_file.h"
#include "runtime/result.h"

namespace sinter::runtime {

enum class Executor {
  eager,       // one dispatch to the pool per phase
  persistent,  // one dispatch per step, a barrier between phases
};

struct LoadOptions {
  int threads = 0;                                // 0: all this process may use
  bool verify_weights = true;                     // check the checksum of the weights while loading
  std::function<void(double fraction)> progress;  // may be empty
};

struct PhaseTime {
  double seconds = 0;
  uint64_t calls = 0;
};

// Weights in memory, code loaded, threads running. Shared by sessions; one step at a time.
// Weights of a stored plan are used in place from the memory map; those of a synthetic plan are
// generated.
class Model {
 public:
  static Result<std::shared_ptr<Model>> load(std::shared_ptr<const PlanFile> file,
                                             const LoadOptions& options);
  ~Model();
  const Plan& plan() const;
  const PlanFile& file() const;
  const CodeObject& code() const;
  const DevicePlan& device_plan() const;  // that the code belongs to
  int workers() const;
  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  Model();
  std::unique_ptr<Impl> impl_;
};

class Session {
 public:
  // context: positions the session can hold; 0 takes the plan's maximum. Error: more than the
  // plan's maximum, or out of memory.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<Model> model, int64_t context,
                                                 Executor executor = Executor::persistent);
  ~Session();

  // Appends tokens in chunks. logits_rows: how many of the last rows get logits (1 <= logits_rows
  // <= tokens), at most DevicePlan::logits_rows unless `sink` is given: then each chunk's rows go to the
  // sink in order as they are made (row-major float32, `rows` of them) and any number may be asked
  // for. Errors (nothing is changed): a token outside the vocabulary, more tokens than the context
  // has room for.
  using LogitsSink = std::function<void(std::span<const float> logits, int64_t rows)>;
  Status prefill(std::span<const int32_t> tokens, int64_t logits_rows = 1,
                 const LogitsSink& sink = {});
  // Appends one token through the decode schedule.
  Status decode(int32_t token);

  // Logits of the last row computed, [vocab_size]; empty before the first step.
  std::span<const float> logits() const;

  int64_t position() const;  // tokens so far
  int64_t context() const;   // positions it can hold
  void reset();              // back to an empty sequence

  uint64_t state_bytes() const;
  uint64_t arena_bytes() const;

  // Times per decode phase, summed over calls while `profile(true)` is on (worker 0's clock).
  void profile(bool on);
  const std::vector<PhaseTime>& decode_times() const;

 private:
  Session();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Peak resident memory of this process in bytes, as the kernel counts it.
uint64_t peak_resident_bytes();
// Reads `bytes` of memory with `threads` workers (0: all) and gives bytes per second, the median of
// several passes: the roof that speeds are compared with. 0 when it cannot be measured (no memory,
// no threads).
double measure_streaming_read(int threads, uint64_t bytes);

}  // namespace sinter::runtime
