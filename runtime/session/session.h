// A loaded model and sequences running on it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/plan/file.h"
#include "runtime/session/pool.h"
#include "runtime/session/sampler.h"
#include "runtime/session/sequence.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

struct GpuDriver;

enum class Executor {
  automatic,   // persistent on the host, graph on a GPU
  eager,       // one dispatch to the pool, or one launch, per phase
  persistent,  // the host's: one dispatch per step
  graph,       // a GPU's: one replay per decode step; prefill steps are launched phase by phase
};

std::string_view name(Executor executor);  // "graph"

struct LoadOptions {
  int threads = 0;             // 0: all this process may use
  bool verify_weights = true;  // check the checksum of the weights while loading
  std::function<void(double fraction)> progress = {};  // may be empty
  // "host", or a GPU by its number: "hip:0", "cuda:1"; "hip" and "cuda" are number 0.
  std::string device = "host";
  // Positions of the session to come, so that what does not fit into a GPU's memory is refused
  // before weights are loaded; 0: not known.
  int64_t context = 0;
  // What GPUs are driven with; null: the driver of this machine.
  std::shared_ptr<const GpuDriver> driver = {};
};

struct DeviceInfo {
  std::string id;            // "host", "hip:0", "cuda:1"
  std::string name;          // "AMD Radeon Graphics"
  std::string architecture;  // "gfx1151", "sm_90", "host-x86-64"
  uint64_t total_memory = 0, free_memory = 0;
};

struct PhaseTime {
  double seconds = 0;
  uint64_t calls = 0;
};

class DeviceModel;
class DeviceSession;

// Weights in memory, code loaded, threads running. Shared by sessions; one step at a time. On the
// host, weights of a stored plan are used in place from the memory map; those of a synthetic plan
// are generated. On a GPU they lie in its memory.
class Model {
 public:
  // Errors: among others, a device that is not there, or for which the plan has no code. Nothing
  // else is taken in its place.
  static Result<std::shared_ptr<Model>> load(std::shared_ptr<const PlanFile> file,
                                             const LoadOptions& options);
  ~Model();
  const Plan& plan() const;
  const PlanFile& file() const;
  const CodeObject& code() const;
  const DevicePlan& device_plan() const;  // that the code belongs to
  const DeviceInfo& device() const;       // as it was before the model was loaded
  int workers() const;                    // threads of the host, or multiprocessors of the GPU
  // Bytes per second that the device reads from its memory: the roof that speeds are compared with,
  // measured now over `bytes` of it (0: as many as make a good measurement).
  Result<double> streaming_read(uint64_t bytes = 0) const;
  DeviceModel& on_device() const { return *device_; }
  // A child of fork has neither the threads nor the driver's connection of its parent. Error: this
  // is not the process that loaded the model.
  Status check_process() const;

 private:
  Model();
  int process_ = 0;  // that loaded it
  std::shared_ptr<const PlanFile> file_;
  std::unique_ptr<DeviceModel> device_;
};

// How much a session holds.
struct SessionOptions {
  int64_t context = 0;    // positions of a sequence at most; 0: the plan's maximum
  int64_t sequences = 1;  // at a time, snapshots among them
  int64_t positions = 0;  // of all sequences together, whole pages; 0: the context of each
  Executor executor = Executor::automatic;
};

// Sequences of tokens with their state. Sequence 0 is there from the start, and what takes a
// sequence's number means it unless another is said. What a sequence gets does not depend on the
// others: decoded with up to 32 rows to a step it has the bits that it has alone.
class Session {
 public:
  // Errors: more than the plan's maximum, out of memory, an executor that the device does not have,
  // kernels that do not compute the plan's probes, a graph that does not compute what its phases
  // do.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<Model> model,
                                                 const SessionOptions& options);
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<Model> model, int64_t context,
                                                 Executor executor = Executor::automatic) {
    return create(std::move(model), {.context = context, .executor = executor});
  }
  ~Session();

  // ---- Sequences. Errors change nothing: a number that is no sequence, none free, no room.

  Result<int> add();  // an empty one; gives its number
  // A sequence that goes on where this one is. What both have is kept once.
  Result<int> fork(int sequence);
  // Takes back the tokens from position `position` on, as if they had never been. Error: state that
  // is not kept by position, unless all or nothing is taken back; restore a snapshot there.
  Status truncate(int sequence, int64_t position);
  // Keeps a sequence as it is, for restore(). A snapshot takes the place of a sequence, is no
  // sequence to append to, and goes by remove().
  Result<int> snapshot(int sequence);
  Status restore(int sequence, int snapshot);
  Status remove(int sequence);
  bool is_snapshot(int sequence) const;
  int64_t sequences() const;  // places
  int64_t free_pages() const;

  // ---- Steps

  // Tokens for one sequence; the last `logits_rows` of them get logits.
  struct Part {
    int sequence = 0;
    std::span<const int32_t> tokens;
    int64_t logits_rows = 1;
  };
  // Appends to several sequences in one step, of as many rows as there are tokens. Errors (nothing
  // is changed): no tokens, a sequence that is named twice, more rows than any schedule serves,
  // more rows of logits than DevicePlan::logits_rows, those of prefill.
  Status step(std::span<const Part> parts);

  // ---- Drafts of a multi-token-prediction head, of plans that were compiled with one.

  // Rows of the head for one sequence: that of `position` has the token that follows it,
  // tokens[0], and so on; the last `logits_rows` of them get logits, of the token after that. Such
  // a row reads the hidden state of its position, which is at hand for all rows of the sequence's
  // last step and, of its last row, until the next one; it leaves its own, as that of the position
  // behind it: so the head can draft one token after another. The head remembers the tokens: those
  // that follow positions of the model should be what the model reads next.
  struct DraftPart {
    int sequence = 0;
    int64_t position = 0;
    std::span<const int32_t> tokens;
    int64_t logits_rows = 1;
  };
  // Runs the head for several sequences in one step. What the model has read is not changed; the
  // head has gone over every position up to those of its last step, without gaps. Errors (nothing
  // is changed): a plan without a head, a position that is not at hand or leaves a gap, those of
  // step.
  Status draft(std::span<const DraftPart> parts);
  // The last `rows` of the logits that the sequence got in the last draft, [rows, vocab_size]:
  // valid until the next draft, and until a step that gives a sequence logits of several rows.
  Result<std::span<const float>> read_draft_logits(int sequence = 0, int64_t rows = 1) const;
  // Positions that the head has gone over: where it may go on.
  int64_t drafted(int sequence = 0) const;

  // Appends tokens in chunks. logits_rows: how many of the last rows get logits (1 <= logits_rows
  // <= tokens), at most DevicePlan::logits_rows unless `sink` is given: then each chunk's rows go
  // to the sink in order as they are made (row-major float32, `rows` of them) and any number may be
  // asked for. Errors (nothing is changed): a token outside the vocabulary, more tokens than the
  // context has room for. Logits that are not finite are an error, too: then the tokens are part of
  // the sequence, which is of no use any more. On a GPU they are looked at when they are asked for.
  using LogitsSink = std::function<void(std::span<const float> logits, int64_t rows)>;
  Status prefill(std::span<const int32_t> tokens, int64_t logits_rows = 1,
                 const LogitsSink& sink = {}, int sequence = 0);
  // Appends one token through the decode schedule.
  Status decode(int32_t token, int sequence = 0);

  // Draws up to `count` tokens, each from the logits of the step before it, and decodes them: gives
  // a token to the sink, which stops by returning false, then decodes it, and so on. Afterwards
  // every token that the sink got but the last is part of the sequence. Draws are numbered from
  // the sequence's start or last reset. Errors: options out of range, no logits yet, no room for
  // count - 1 more tokens (all of these before anything is drawn), logits that are not numbers.
  using TokenSink = std::function<bool(int32_t token)>;
  Status generate(const SamplingOptions& options, int64_t count, const TokenSink& sink);
  // The same for several sequences at a time, each with options and an end of its own.
  struct Draw {
    int sequence = 0;
    SamplingOptions options;
    int64_t count = 0;
  };
  using DrawSink = std::function<bool(size_t draw, int32_t token)>;
  Status generate(std::span<const Draw> draws, const DrawSink& sink);

  // Logits of the last row computed, [vocab_size], valid until the next step. Errors: no step yet,
  // a GPU that fails to give them, logits that are not finite.
  Result<std::span<const float>> read_logits(int sequence = 0) const;
  // The last `rows` of those that its last step gave logits, [rows, vocab_size].
  Result<std::span<const float>> read_logits(int sequence, int64_t rows) const;
  // The same; empty where that is an error, which the next step then reports.
  std::span<const float> logits() const;

  int64_t position(int sequence = 0) const;  // tokens so far
  int64_t context() const;                   // positions that a sequence can hold
  Executor executor() const;
  // Back to an empty sequence, whose draws are numbered from 0.
  void reset(int sequence = 0);

  uint64_t state_bytes() const;
  uint64_t arena_bytes() const;
  uint64_t device_bytes() const;  // all that it takes of the device's memory

  // Times of the phases of the schedule for so many rows, summed over its steps (worker 0's clock,
  // or the GPU's). 0: no more are measured.
  void profile(int64_t rows);
  const std::vector<PhaseTime>& profiled_times() const;

 private:
  Session();
  // What `logits` or `reset` could not report.
  Status take_failure();
  Status check_sequence(int sequence) const;  // one that may be appended to
  Status check_tokens(const Part& part) const;
  Status check_in_vocabulary(std::span<const int32_t> tokens) const;
  Status check_draft(const DraftPart& part) const;
  Status check_room(int sequence, uint64_t tokens) const;
  Status check_last_logits(int sequence) const;
  Status grow(std::span<const Growth> growths);
  Status run(size_t schedule, std::span<const Part> parts);
  void forget_shared_logits();
  Result<int> duplicate(int sequence);
  Sequence& at(int sequence) const { return sequences_[static_cast<size_t>(sequence)]; }

  std::shared_ptr<Model> model_;
  std::unique_ptr<DeviceSession> device_;
  std::unique_ptr<Pool> pool_;
  mutable std::vector<Sequence> sequences_;
  int64_t context_ = 0;
  bool has_fixed_state_ = false;
  uint64_t known_pages_ = 0;  // version of the table that the device has
  mutable std::optional<Error> failure_;
};

}  // namespace sinter::runtime
