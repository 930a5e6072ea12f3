// A sequence on a GPU. A decode step is one replay of a graph: the decode schedule and the drawing
// of the next token. Position, token and number of the draw lie in device memory and are moved on
// there, so replays follow one another without the host, which reads the tokens from a ring of
// pinned memory behind them.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "runtime/gpu/model.h"
#include "runtime/session/probe.h"

namespace sinter::runtime {
namespace {

constexpr int ring_size = 64;
// Replays that are issued before the token of the first one was seen.
constexpr int64_t most_in_flight = 4;
// Of the host's pinned memory.
constexpr uint64_t pinned_alignment = 256;

struct GpuPhase {
  const Phase* phase = nullptr;
  HipFunction function = nullptr;
  GpuArguments arguments{};
  unsigned resident = 0;  // blocks that the GPU holds at one time
};

// Blocks of a phase that have work.
unsigned working_blocks(const Phase& phase, size_t tokens) {
  constexpr uint64_t most = 1 << 30;
  const uint64_t per_block = phase.tokens_per_block;
  const uint64_t rounds = per_block == 0 ? 1 : (tokens + per_block - 1) / per_block;
  return static_cast<unsigned>(std::clamp<uint64_t>(phase.blocks * rounds, 1, most));
}

class GpuSession : public DeviceSession {
 public:
  GpuSession(const GpuModel& model, int64_t capacity, Executor executor)
      : model_(model),
        device_(model.device()),
        driver_(device_.driver()),
        executor_(executor),
        capacity_(capacity),
        layout_(model.plan(), model.device_plan(), capacity) {}
  Status prepare();

  Executor executor() const override { return executor_; }
  uint64_t bytes() const override { return layout_.bytes; }
  Status step(size_t schedule, std::span<const int32_t> tokens, int64_t position,
              int64_t rows) override;
  bool logits_at_hand() const override { return false; }
  Result<std::span<const float>> logits(int64_t first_row, int64_t rows) override;
  Status generate(Sequence& sequence, const SamplingOptions& options, int64_t count,
                  const Session::TokenSink& sink) override;
  Status clear() override;
  void profile(bool on) override { profiling_ = on; }
  const std::vector<PhaseTime>& decode_times() const override { return times_; }

 private:
  class Flight;

  Status allocate();
  void* address(const Argument& argument) const;
  Result<std::vector<GpuPhase>> resolve(const std::vector<Phase>& phases) const;
  Status zero(uint64_t bytes);
  Status upload(std::span<const int32_t> tokens, const StepParams& step);
  Status upload(const SampleParams& sampling);
  Status launch(const GpuPhase& phase, unsigned blocks, bool early = false);
  Status launch_all(const std::vector<GpuPhase>& phases, bool early = false);
  Status launch_decode() { return launch_all(decode()); }
  Status launch_rows(const std::vector<GpuPhase>& phases, size_t rows);
  Status launch_sampler();
  Status issue();
  Status measure_decode();
  Status probe();
  Result<std::vector<float>> first_logits(bool replay);
  Status check_graph();
  SampleParams sampling_params(const SamplingOptions& options, uint64_t draw) const;
  Status start_drawing(const Sequence& sequence, const SamplingOptions& options);
  Status refresh_logits();

  const std::vector<GpuPhase>& decode() const { return schedules_[one_row_]; }
  uint8_t* at(uint64_t offset) const { return static_cast<uint8_t*>(memory_.get()) + offset; }
  uint8_t* pinned(uint64_t offset) const { return static_cast<uint8_t*>(pinned_.get()) + offset; }
  const int32_t* ring() const { return reinterpret_cast<const int32_t*>(pinned(ring_offset_)); }
  uint64_t row_bytes() const { return static_cast<uint64_t>(model_.plan().vocab_size) * 4; }

  const GpuModel& model_;
  const GpuDevice& device_;
  const GpuDriver& driver_;
  Executor executor_;
  int64_t capacity_;
  int64_t in_flight_ = 1;
  GpuSessionLayout layout_;

  GpuMemory memory_;
  PinnedMemory pinned_;  // what is copied to the device, the ring, logits
  uint64_t sampling_offset_ = 0, ring_offset_ = 0, logits_offset_ = 0;
  std::vector<GpuEvent> drawn_;                   // after the replays in flight
  std::vector<std::vector<GpuPhase>> schedules_;  // as in the device plan
  size_t one_row_ = 0;                            // the schedule of a step of one row
  unsigned sampler_blocks_ = 0;
  GpuGraph graph_;

  // The logits were overwritten by replays that went further than the sequence; decoding this token
  // at this position once more makes them again.
  struct Stale {
    int32_t token;
    int64_t position;
  };
  std::optional<Stale> stale_;
  // Rows of logits that are in pinned memory.
  int64_t first_copied_ = 0, copied_ = 0;

  bool profiling_ = false;
  std::vector<PhaseTime> times_;
  std::vector<GpuEvent> marks_;  // between phases

  GpuStream stream_;
};

Status GpuSession::allocate() {
  const DevicePlan& plan = model_.device_plan();
  auto memory = device_.allocate(layout_.bytes, "a session");
  if (!memory.ok()) return memory.error();
  memory_ = std::move(*memory);
  sampling_offset_ = round_up(
      pinned_alignment + static_cast<uint64_t>(plan.chunk) * sizeof(int32_t), pinned_alignment);
  ring_offset_ = sampling_offset_ + round_up(sizeof(SampleParams), pinned_alignment);
  logits_offset_ = ring_offset_ + round_up(ring_size * sizeof(int32_t), pinned_alignment);
  // Where logits are copied to, and before there are any, what probes computed.
  const uint64_t copied_bytes = std::max(static_cast<uint64_t>(plan.logits_rows) * row_bytes(),
                                         plan.probes.size() * sizeof(float));
  auto pinned = device_.allocate_pinned(logits_offset_ + copied_bytes, "a session");
  if (!pinned.ok()) return pinned.error();
  pinned_ = std::move(*pinned);
  auto stream = device_.create_stream();
  if (!stream.ok()) return stream.error();
  stream_ = std::move(*stream);
  // Replays ahead of the sequence write positions that are written again, but also move on what has
  // no positions.
  const bool has_fixed_state = std::any_of(plan.states.begin(), plan.states.end(),
                                           [](const PlanState& s) { return s.fixed_bytes != 0; });
  in_flight_ = has_fixed_state ? 1 : most_in_flight;
  for (int64_t i = 0; i < in_flight_; ++i) {
    auto event = device_.create_event(false);
    if (!event.ok()) return event.error();
    drawn_.push_back(std::move(*event));
  }
  return Done{};
}

Status GpuSession::prepare() {
  if (Status s = allocate(); !s.ok()) return s;
  const DevicePlan& plan = model_.device_plan();
  for (const Schedule& schedule : plan.schedules) {
    auto resolved = resolve(schedule.phases);
    if (!resolved.ok()) return resolved.error();
    schedules_.push_back(std::move(*resolved));
  }
  one_row_ = *plan.schedule_for(Schedule::Entry::main, 1);
  times_.resize(decode().size());
  const auto blocks =
      device_.resident_blocks(model_.sampler(), gpu_sample_shared_bytes, "sinter_sample");
  if (!blocks.ok()) return blocks.error();
  sampler_blocks_ = std::min<unsigned>(*blocks, gpu_sample_blocks);
  if (Status s = zero(layout_.bytes); !s.ok()) return s;
  if (Status s = upload(sampling_params({.greedy = true}, 0)); !s.ok()) return s;
  if (Status s = probe(); !s.ok()) return s;
  if (executor_ != Executor::graph) return Done{};
  auto graph = device_.capture(stream_.get(), [this] {
    Status launched = launch_all(decode(), model_.code().early_launch);
    return launched.ok() ? launch_sampler() : launched;
  });
  if (!graph.ok()) return graph.error();
  graph_ = std::move(*graph);
  return check_graph();
}

void* GpuSession::address(const Argument& argument) const {
  switch (argument.region) {
    case Argument::Region::weights:
      return model_.weights() + argument.offset;
    case Argument::Region::state:
      return at(layout_.states[argument.index] + argument.offset);
    case Argument::Region::arena:
      return at(layout_.arena + argument.offset);
    case Argument::Region::tokens:
      return at(layout_.tokens + argument.offset);
    case Argument::Region::logits:
      return at(layout_.logits + argument.offset);
  }
  return nullptr;
}

Result<std::vector<GpuPhase>> GpuSession::resolve(const std::vector<Phase>& phases) const {
  std::vector<GpuPhase> resolved;
  for (const Phase& phase : phases) {
    GpuPhase& r = resolved.emplace_back();
    r.phase = &phase;
    r.function = model_.kernel(phase.kernel);
    r.arguments.step = reinterpret_cast<const StepParams*>(at(layout_.step));
    for (size_t i = 0; i < phase.arguments.size(); ++i)
      r.arguments.args[i] = address(phase.arguments[i]);
    const auto blocks = device_.resident_blocks(r.function, phase.shared_bytes,
                                                model_.device_plan().kernels[phase.kernel].symbol);
    if (!blocks.ok()) return Error{fmt::format("phase {}: {}", phase.name, blocks.error().message)};
    r.resident = *blocks;
  }
  return resolved;
}

Status GpuSession::zero(uint64_t bytes) {
  if (bytes == 0) return Done{};
  return device_.check(driver_.hipMemsetAsync(memory_.get(), 0, bytes, stream_.get()),
                       "clearing a session's memory");
}

// Every step ends with waiting for it, so the pinned copy is not in use.
Status GpuSession::upload(std::span<const int32_t> tokens, const StepParams& step) {
  const uint64_t tokens_at = layout_.tokens - layout_.step;
  std::memcpy(pinned(0), &step, sizeof step);
  std::memcpy(pinned(tokens_at), tokens.data(), tokens.size_bytes());
  return device_.check(driver_.hipMemcpyHtoDAsync(at(layout_.step), pinned(0),
                                                  tokens_at + tokens.size_bytes(), stream_.get()),
                       "telling the GPU what to run");
}

Status GpuSession::upload(const SampleParams& sampling) {
  std::memcpy(pinned(sampling_offset_), &sampling, sizeof sampling);
  return device_.check(driver_.hipMemcpyHtoDAsync(at(layout_.sampling), pinned(sampling_offset_),
                                                  sizeof sampling, stream_.get()),
                       "telling the GPU how to sample");
}

Status GpuSession::launch(const GpuPhase& phase, unsigned blocks, bool early) {
  return device_.launch(phase.function, blocks, phase.phase->shared_bytes, stream_.get(),
                        phase.arguments, "phase ", phase.phase->name, early);
}

// Of one token.
Status GpuSession::launch_all(const std::vector<GpuPhase>& phases, bool early) {
  for (const GpuPhase& phase : phases) {
    if (Status s = launch(phase, std::min(phase.resident, working_blocks(*phase.phase, 1)), early);
        !s.ok())
      return s;
  }
  return Done{};
}

Status GpuSession::launch_rows(const std::vector<GpuPhase>& phases, size_t rows) {
  for (const GpuPhase& phase : phases) {
    if (Status s = launch(phase, working_blocks(*phase.phase, rows)); !s.ok()) return s;
  }
  return Done{};
}

Status GpuSession::launch_sampler() {
  GpuArguments arguments{};
  arguments.step = reinterpret_cast<const StepParams*>(at(layout_.step));
  void* const args[] = {at(layout_.logits), at(layout_.sampling), at(layout_.tokens),
                        at(layout_.step),   pinned(ring_offset_), at(layout_.workspace)};
  std::copy(std::begin(args), std::end(args), arguments.args);
  return device_.launch(model_.sampler(), sampler_blocks_, gpu_sample_shared_bytes, stream_.get(),
                        arguments, "", "sinter_sample");
}

// Decodes the token that lies in device memory and draws the next.
Status GpuSession::issue() {
  if (graph_.get() != nullptr)
    return device_.check(driver_.hipGraphLaunch(graph_.get(), stream_.get()), "replaying a step");
  if (Status s = launch_decode(); !s.ok()) return s;
  return launch_sampler();
}

Status GpuSession::step(size_t schedule, std::span<const int32_t> tokens, int64_t position,
                        int64_t rows) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  stale_.reset();
  copied_ = 0;
  if (Status s = upload(tokens, {.position = static_cast<int>(position),
                                 .tokens = static_cast<int>(tokens.size()),
                                 .logits_rows = static_cast<int>(rows),
                                 .capacity = static_cast<int>(capacity_)});
      !s.ok())
    return s;
  Status launched = schedule != one_row_      ? launch_rows(schedules_[schedule], tokens.size())
                    : profiling_              ? measure_decode()
                    : graph_.get() != nullptr ? issue()
                                              : launch_decode();
  // Also after an error: what was launched before it uses the pinned memory.
  const int code = driver_.hipStreamSynchronize(stream_.get());
  if (!launched.ok() || code == hip_success) return launched;
  return device_.error(code, fmt::format("the {} step at position {}",
                                         model_.device_plan().schedules[schedule].name, position));
}

// Launches with a mark between phases. The GPU is kept busy reading weights until everything is
// queued, or the marks would measure how fast the host launches.
Status GpuSession::measure_decode() {
  constexpr uint64_t read_per_phase = 20 << 20;  // 5 us at 4 TB/s
  while (marks_.size() <= decode().size()) {
    auto mark = device_.create_event(true);
    if (!mark.ok()) return mark.error();
    marks_.push_back(std::move(*mark));
  }
  const auto mark = [this](size_t i) {
    return device_.check(driver_.hipEventRecord(marks_[i].get(), stream_.get()),
                         "marking the time");
  };
  const uint64_t readable = model_.device_plan().weight_bytes / 16 * 16;
  const uint64_t wanted = read_per_phase * decode().size();
  for (uint64_t read = 0; readable >= read_per_phase && read < wanted; read += readable) {
    if (Status s = model_.launch_stream(model_.weights(), readable, stream_.get()); !s.ok())
      return s;
  }
  if (Status s = mark(0); !s.ok()) return s;
  for (size_t i = 0; i < decode().size(); ++i) {
    const GpuPhase& phase = decode()[i];
    if (Status s = launch(phase, std::min(phase.resident, working_blocks(*phase.phase, 1)));
        !s.ok())
      return s;
    if (Status s = mark(i + 1); !s.ok()) return s;
  }
  if (Status s = device_.wait(stream_.get(), "the measured decode step"); !s.ok()) return s;
  for (size_t i = 0; i < decode().size(); ++i) {
    float milliseconds = 0;
    if (Status s = device_.check(
            driver_.hipEventElapsedTime(&milliseconds, marks_[i].get(), marks_[i + 1].get()),
            "reading the time of a phase");
        !s.ok())
      return s;
    times_[i].seconds += static_cast<double>(milliseconds) * 1e-3;
    ++times_[i].calls;
  }
  return Done{};
}

Result<std::span<const float>> GpuSession::logits(int64_t first_row, int64_t rows) {
  if (Status s = device_.make_current(); !s.ok()) return s.error();
  if (Status s = refresh_logits(); !s.ok()) return s.error();
  const uint64_t offset = static_cast<uint64_t>(first_row) * row_bytes();
  const uint64_t bytes = static_cast<uint64_t>(rows) * row_bytes();
  uint8_t* const copy = pinned(logits_offset_ + offset);
  if (first_row < first_copied_ || first_row + rows > first_copied_ + copied_) {
    const int code =
        driver_.hipMemcpyDtoHAsync(copy, at(layout_.logits + offset), bytes, stream_.get());
    const int waited = driver_.hipStreamSynchronize(stream_.get());
    if (code != hip_success || waited != hip_success)
      return device_.error(code != hip_success ? code : waited, "copying logits");
    first_copied_ = first_row;
    copied_ = rows;
  }
  return std::span<const float>(reinterpret_cast<const float*>(copy), bytes / 4);
}

Status GpuSession::refresh_logits() {
  if (!stale_) return Done{};
  const Stale stale = *stale_;
  return step(one_row_, {&stale.token, 1}, stale.position, 1);
}

Status GpuSession::clear() {
  stale_.reset();
  copied_ = 0;
  if (Status s = device_.make_current(); !s.ok()) return s;
  return zero(layout_.state_bytes);
}

// Runs the probe schedule and compares what it computed.
Status GpuSession::probe() {
  const DevicePlan& plan = model_.device_plan();
  if (plan.probes.empty()) return Done{};
  const auto schedule = plan.schedule_for(Schedule::Entry::probe, 1);
  const int32_t token = 0;
  if (Status s = upload({&token, 1}, probe_step(capacity_)); !s.ok()) return s;
  Status launched = launch_all(schedules_[*schedule]);
  auto* const computed = reinterpret_cast<float*>(pinned(logits_offset_));
  int code = hip_success;
  for (size_t i = 0; i < plan.probes.size() && launched.ok() && code == hip_success; ++i)
    code = driver_.hipMemcpyDtoHAsync(computed + i, at(layout_.arena + plan.probes[i].offset),
                                      sizeof(float), stream_.get());
  // Also after an error: what was launched before it uses the pinned memory.
  const int waited = driver_.hipStreamSynchronize(stream_.get());
  if (!launched.ok()) return launched;
  if (code != hip_success || waited != hip_success)
    return device_.error(code != hip_success ? code : waited, "probing the kernels");
  return check_probes(plan.probes, {computed, plan.probes.size()}, model_.info().id,
                      model_.code().target);
}

// The logits of one step on a session that is as at the start, and is so afterwards.
Result<std::vector<float>> GpuSession::first_logits(bool replay) {
  const int32_t token = 0;
  if (Status s = upload(
          {&token, 1},
          {.position = 0, .tokens = 1, .logits_rows = 1, .capacity = static_cast<int>(capacity_)});
      !s.ok())
    return s.error();
  if (Status s = replay ? issue() : launch_decode(); !s.ok()) return s.error();
  copied_ = 0;
  const auto row = logits(0, 1);
  if (!row.ok()) return row.error();
  std::vector<float> copy(row->begin(), row->end());
  if (Status s = zero(layout_.state_bytes); !s.ok()) return s.error();
  return copy;
}

Status GpuSession::check_graph() {
  const auto launched = first_logits(false);
  if (!launched.ok()) return launched.error();
  const auto replayed = first_logits(true);
  if (!replayed.ok()) return replayed.error();
  copied_ = 0;
  for (size_t i = 0; i < launched->size(); ++i) {
    const float a = (*replayed)[i], b = (*launched)[i];
    if (std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b)) continue;
    return Error{fmt::format(
        "{}: the graph of a decode step does not compute what its {} phases do: logit {} is {} "
        "instead of {}; use --executor eager and report it",
        model_.info().id, decode().size(), i, a, b)};
  }
  return Done{};
}

SampleParams GpuSession::sampling_params(const SamplingOptions& options, uint64_t draw) const {
  const bool greedy = options.greedy || options.temperature == 0;
  return {.seed = options.seed,
          .draw = draw,
          .scale = greedy ? 0 : sampling_scale(options.temperature),
          .top_p = options.top_p,
          .top_k = options.top_k,
          .vocab_size = static_cast<int>(model_.plan().vocab_size),
          .drawn = 0,
          .ring_size = ring_size};
}

Status GpuSession::start_drawing(const Sequence& sequence, const SamplingOptions& options) {
  // As if the last step had been one of a single token, with its logits where they are.
  const int32_t no_token = 0;
  if (Status s = upload({&no_token, 1}, {.position = static_cast<int>(sequence.position - 1),
                                         .tokens = 1,
                                         .logits_rows = static_cast<int>(sequence.logits_row + 1),
                                         .capacity = static_cast<int>(capacity_)});
      !s.ok())
    return s;
  if (Status s = upload(sampling_params(options, sequence.draws)); !s.ok()) return s;
  return launch_sampler();
}

// Draws that were issued and those that were waited for. Waits for the rest when it goes.
class GpuSession::Flight {
 public:
  explicit Flight(GpuSession& session) : session_(session) {}
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;
  ~Flight() { land(); }

  int64_t issued() const { return issued_; }
  // Marks the end of the draw that was enqueued last.
  Status issue() {
    const GpuEvent& event = session_.drawn_[slot(issued_++)];
    return session_.device_.check(
        session_.driver_.hipEventRecord(event.get(), session_.stream_.get()),
        "marking a drawn token");
  }
  Result<int32_t> wait() {
    const int64_t draw = waited_++;
    const int code = session_.driver_.hipEventSynchronize(session_.drawn_[slot(draw)].get());
    if (code != hip_success) return session_.device_.error(code, "decoding");
    return session_.ring()[draw % ring_size];
  }
  // Ends the flight. `decoded`: the last token of the sequence, at `position`; what went further
  // took its logits.
  void land() {
    if (std::exchange(landed_, true)) return;
    // An error is met again by whatever comes next.
    (void)session_.driver_.hipStreamSynchronize(session_.stream_.get());
    if (issued_ > waited_) session_.stale_ = decoded_;
  }
  void decoded(int32_t token, int64_t position) { decoded_ = {token, position}; }

 private:
  size_t slot(int64_t draw) const { return static_cast<size_t>(draw % session_.in_flight_); }

  GpuSession& session_;
  int64_t issued_ = 0, waited_ = 0;
  std::optional<Stale> decoded_;
  bool landed_ = false;
};

Status GpuSession::generate(Sequence& sequence, const SamplingOptions& options, int64_t count,
                            const Session::TokenSink& sink) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  if (Status s = refresh_logits(); !s.ok()) return s;
  copied_ = 0;
  Flight flight(*this);
  if (Status s = start_drawing(sequence, options); !s.ok()) return s;
  if (Status s = flight.issue(); !s.ok()) return s;
  int32_t previous = 0;
  for (int64_t given = 0; given < count; ++given) {
    // The first token comes alone: should it be the last, the logits that it was drawn from,
    // perhaps those of a prefill, are still there.
    const int64_t ahead = given == 0 ? 1 : std::min(count, given + in_flight_);
    while (flight.issued() < ahead) {
      if (Status s = issue(); !s.ok()) return s;
      if (Status s = flight.issue(); !s.ok()) return s;
    }
    const auto token = flight.wait();
    if (!token.ok()) return token.error();
    if (given > 0) {
      flight.decoded(previous, sequence.position++);
      sequence.logits_row = 0;
    }
    if (*token < 0) {
      flight.land();
      const auto row = logits(sequence.logits_row, 1);
      if (!row.ok()) return row.error();
      const auto reason = sample(*row, options, sequence.draws);
      if (!reason.ok()) return reason.error();
      return Error{
          fmt::format("sampling: {} reports error {}, but the logits are sound; this is a "
                      "bug in sinter, please report it",
                      model_.info().id, *token)};
    }
    ++sequence.draws;
    previous = *token;
    if (!sink(*token)) break;
  }
  return Done{};
}

}  // namespace

Result<std::unique_ptr<DeviceSession>> create_gpu_session(const GpuModel& model, int64_t capacity,
                                                          Executor executor) {
  auto session = std::make_unique<GpuSession>(model, capacity, executor);
  if (Status s = session->prepare(); !s.ok()) return s.error();
  return std::unique_ptr<DeviceSession>(std::move(session));
}

}  // namespace sinter::runtime
