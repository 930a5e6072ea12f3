// The host as a device: weights in place, phases on a pool of threads.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "runtime/host/cpu.h"
#include "runtime/host/device.h"
#include "runtime/host/memory.h"
#include "runtime/host/thread_pool.h"
#include "runtime/plan/synthetic.h"
#include "runtime/session/device.h"
#include "runtime/session/probe.h"

namespace sinter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int most_threads = 1024;
// A worker's share of filling, in 8-byte words: small enough to balance, large enough not to be
// felt.
constexpr uint64_t fill_piece = 1 << 20;
// Of a measurement of the memory: large enough not to fit into caches.
constexpr uint64_t most_streamed = uint64_t{1} << 29;

// Asks the system to read the weights ahead.
void will_need(std::span<const uint8_t> bytes) {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = reinterpret_cast<uint64_t>(bytes.data()) / page * page;
  const uint64_t end = reinterpret_cast<uint64_t>(bytes.data()) + bytes.size();
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

void fill_weights(const DevicePlan& plan, uint64_t seed, uint8_t* weights, ThreadPool& pool,
                  const LoadOptions& options) {
  struct Piece {
    size_t fill;
    uint64_t first, last;
  };
  std::vector<Piece> pieces;
  uint64_t total = 0;
  for (size_t i = 0; i < plan.fills.size(); ++i) {
    const uint64_t words = fill_words(plan.fills[i]);
    for (uint64_t first = 0; first < words; first += fill_piece) {
      pieces.push_back({i, first, std::min(words, first + fill_piece)});
    }
    total += words;
  }
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> done{0};
  const std::thread::id caller = std::this_thread::get_id();
  pool.run([&](Share) {
    for (size_t p = next.fetch_add(1); p < pieces.size(); p = next.fetch_add(1)) {
      const Piece& piece = pieces[p];
      fill_range(plan.fills, piece.fill, seed, piece.first, piece.last, weights);
      const uint64_t words = done.fetch_add(piece.last - piece.first) + piece.last - piece.first;
      if (options.progress && std::this_thread::get_id() == caller) {
        options.progress(static_cast<double>(words) / static_cast<double>(total));
      }
    }
  });
}

class HostModel : public DeviceModel {
 public:
  static Result<std::unique_ptr<DeviceModel>> load(std::shared_ptr<const PlanFile> file,
                                                   const LoadOptions& options);

  const CodeObject& code() const override { return *code_; }
  const DeviceInfo& info() const override { return info_; }
  int workers() const override { return pool_->workers(); }
  Result<std::unique_ptr<DeviceSession>> create_session(int64_t context, int64_t capacity,
                                                        Executor executor) override;
  Result<double> streaming_read(uint64_t bytes) override;

  const Plan& plan() const { return file_->plan(); }
  const DevicePlan& device_plan() const { return plan().device_plans[code_->device_plan]; }
  ThreadPool& pool() { return *pool_; }
  PhaseFunction kernel(uint32_t index) const { return kernels_->kernel(index); }
  const uint8_t* weights() const { return weights_; }
  std::mutex& step_mutex() { return step_; }

 private:
  Status load_weights(const LoadOptions& options);

  std::shared_ptr<const PlanFile> file_;
  const CodeObject* code_ = nullptr;
  DeviceInfo info_;
  std::shared_ptr<const HostCode> kernels_;
  std::unique_ptr<ThreadPool> pool_;
  Memory synthetic_weights_;
  const uint8_t* weights_ = nullptr;  // the weights section, wherever it lies; only read
  std::mutex step_;                   // held while a step runs
};

// A phase with its arguments resolved to addresses.
struct ResolvedPhase {
  PhaseFunction function = nullptr;
  std::vector<void*> arguments;
};

class HostSession : public DeviceSession {
 public:
  HostSession(HostModel& model, int64_t context, int64_t capacity, Executor executor)
      : model_(model), executor_(executor), context_(context), capacity_(capacity) {}
  Status prepare();

  Executor executor() const override { return executor_; }
  uint64_t bytes() const override {
    return state_.bytes() + arena_.bytes() + tokens_.bytes() + logits_.bytes() + scratch_.bytes();
  }
  Status step(size_t schedule, std::span<const int32_t> tokens, int64_t position,
              int64_t rows) override;
  bool logits_at_hand() const override { return true; }
  Result<std::span<const float>> logits(int64_t first_row, int64_t rows) override;
  Status generate(Sequence& sequence, const SamplingOptions& options, int64_t count,
                  const Session::TokenSink& sink) override;
  Status clear() override {
    state_.clear();
    return Done{};
  }
  void profile(bool on) override { profiling_ = on; }
  const std::vector<PhaseTime>& decode_times() const override { return times_; }

 private:
  Status allocate();
  std::vector<ResolvedPhase> resolve(const std::vector<Phase>& phases) const;
  void* address(const Argument& argument) const;
  void run_phase(const ResolvedPhase& phase, Share share) const;
  Status probe();

  HostModel& model_;
  Executor executor_;
  int64_t context_;   // positions the caller asked for
  int64_t capacity_;  // those rounded up to a multiple of 16

  Memory state_;
  std::vector<uint64_t> state_offsets_;  // of each state within `state_`
  Memory arena_, tokens_, logits_, scratch_;
  uint64_t scratch_stride_ = 0;
  StepParams params_{};
  std::vector<std::vector<ResolvedPhase>> schedules_;  // as in the device plan
  size_t one_row_ = 0;                                 // the schedule of a step of one row

  bool profiling_ = false;
  std::vector<PhaseTime> times_;
};

Status HostSession::prepare() {
  if (Status status = allocate(); !status.ok()) return status;
  const DevicePlan& plan = model_.device_plan();
  for (const Schedule& schedule : plan.schedules) schedules_.push_back(resolve(schedule.phases));
  one_row_ = *plan.schedule_for(Schedule::Entry::main, 1);
  times_.resize(schedules_[one_row_].size());
  return probe();
}

Status HostSession::allocate() {
  const Plan& p = model_.plan();
  const DevicePlan& d = model_.device_plan();
  uint64_t state_total = 0;
  for (const PlanState& s : d.states) {
    state_offsets_.push_back(state_total);
    state_total += round_up(
        s.bytes_per_position * static_cast<uint64_t>(capacity_) + s.fixed_bytes + buffer_slack, 64);
  }
  // Workers' scratch starts at lines of their own.
  scratch_stride_ = round_up(d.scratch_bytes + buffer_slack, 64);
  const uint64_t scratch_total = scratch_stride_ * static_cast<uint64_t>(model_.pool().workers());
  const uint64_t token_bytes = static_cast<uint64_t>(d.chunk) * 4 + buffer_slack;
  const uint64_t logit_bytes =
      static_cast<uint64_t>(d.logits_rows) * p.vocab_size * 4 + buffer_slack;
  const uint64_t activations =
      d.arena_bytes + buffer_slack + scratch_total + token_bytes + logit_bytes;
  const std::optional<uint64_t> available = available_memory();
  if (available && (activations > *available || state_total > *available - activations)) {
    const int64_t fits = activations < *available
                             ? context_that_fits(d, p.max_context, *available - activations)
                             : 0;
    return Error{
        fmt::format("a context of {} needs {} for the state and {} for activations, but {} of "
                    "memory are available; {}",
                    context_, megabytes(state_total), megabytes(activations), megabytes(*available),
                    fits > 0 ? fmt::format("a context of {} fits", fits) : "no context fits")};
  }
  const auto take = [](Memory& into, uint64_t bytes, std::string_view what,
                       bool huge_pages) -> Status {
    Result<Memory> memory = Memory::allocate(bytes, what, huge_pages);
    if (!memory.ok()) return memory.error();
    into = std::move(*memory);
    return Done{};
  };
  // No huge pages for the state: a session that stays short should not back the whole context.
  for (const Status& status :
       {take(state_, state_total, "the state", false),
        take(arena_, d.arena_bytes + buffer_slack, "activations", true),
        take(tokens_, token_bytes, "tokens", false), take(logits_, logit_bytes, "logits", true),
        take(scratch_, scratch_total, "scratch", true)}) {
    if (!status.ok()) return status;
  }
  return Done{};
}

void* HostSession::address(const Argument& argument) const {
  switch (argument.region) {
    // Kernels take all arguments as void*; what they do with weights is read them (stored ones are
    // mapped read-only).
    case Argument::Region::weights:
      return const_cast<uint8_t*>(model_.weights()) + argument.offset;
    case Argument::Region::state:
      return state_.data() + state_offsets_[argument.index] + argument.offset;
    case Argument::Region::arena:
      return arena_.data() + argument.offset;
    case Argument::Region::tokens:
      return tokens_.data() + argument.offset;
    case Argument::Region::logits:
      return logits_.data() + argument.offset;
  }
  return nullptr;
}

std::vector<ResolvedPhase> HostSession::resolve(const std::vector<Phase>& phases) const {
  std::vector<ResolvedPhase> resolved;
  resolved.reserve(phases.size());
  for (const Phase& phase : phases) {
    ResolvedPhase& r = resolved.emplace_back();
    r.function = model_.kernel(phase.kernel);
    for (const Argument& argument : phase.arguments) r.arguments.push_back(address(argument));
  }
  return resolved;
}

void HostSession::run_phase(const ResolvedPhase& phase, Share share) const {
  const Launch launch{
      .args = phase.arguments.data(),
      .step = &params_,
      .scratch = scratch_.data() + scratch_stride_ * static_cast<uint64_t>(share.index),
      .worker = share.index,
      .workers = share.count};
  phase.function(&launch);
}

Status HostSession::probe() {
  const DevicePlan& plan = model_.device_plan();
  const std::lock_guard<std::mutex> lock(model_.step_mutex());
  params_ = probe_step(capacity_);
  if (const auto schedule = plan.schedule_for(Schedule::Entry::probe, 1))
    for (const ResolvedPhase& phase : schedules_[*schedule])
      model_.pool().run([&](Share share) { run_phase(phase, share); });
  std::vector<float> computed;
  for (const Probe& probe : plan.probes)
    std::memcpy(&computed.emplace_back(), arena_.data() + probe.offset, sizeof(float));
  return check_probes(plan.probes, computed, model_.info().id, model_.code().target);
}

Status HostSession::step(size_t schedule, std::span<const int32_t> tokens, int64_t position,
                         int64_t rows) {
  const std::lock_guard<std::mutex> lock(model_.step_mutex());
  std::memcpy(tokens_.data(), tokens.data(), tokens.size_bytes());
  params_ = {.position = static_cast<int>(position),
             .tokens = static_cast<int>(tokens.size()),
             .logits_rows = static_cast<int>(rows),
             .capacity = static_cast<int>(capacity_)};
  const std::vector<ResolvedPhase>& phases = schedules_[schedule];
  const bool timing = profiling_ && schedule == one_row_;
  if (executor_ == Executor::persistent && !timing) {
    model_.pool().run(
        static_cast<int>(phases.size()),
        [&](int phase, Share share) { run_phase(phases[static_cast<size_t>(phase)], share); },
        static_cast<double>(tokens.size()));
    return Done{};
  }
  for (size_t i = 0; i < phases.size(); ++i) {
    const Clock::time_point start = timing ? Clock::now() : Clock::time_point();
    model_.pool().run([&](Share share) { run_phase(phases[i], share); });
    if (!timing) continue;
    times_[i].seconds += std::chrono::duration<double>(Clock::now() - start).count();
    ++times_[i].calls;
  }
  return Done{};
}

Result<std::span<const float>> HostSession::logits(int64_t first_row, int64_t rows) {
  const auto vocab = static_cast<uint64_t>(model_.plan().vocab_size);
  return std::span<const float>(
      reinterpret_cast<const float*>(logits_.data()) + static_cast<uint64_t>(first_row) * vocab,
      static_cast<uint64_t>(rows) * vocab);
}

Status HostSession::generate(Sequence& sequence, const SamplingOptions& options, int64_t count,
                             const Session::TokenSink& sink) {
  for (int64_t i = 0; i < count; ++i) {
    const auto token = sample(*logits(sequence.logits_row, 1), options, sequence.draws);
    if (!token.ok()) return token.error();
    ++sequence.draws;
    if (!sink(*token) || i + 1 == count) break;
    if (Status status = step(one_row_, {&*token, 1}, sequence.position, 1); !status.ok())
      return status;
    sequence.logits_row = -1;
    if (Status status = check_logits(*logits(0, 1), model_.plan().vocab_size, sequence.position++);
        !status.ok())
      return status;
    sequence.logits_row = 0;
  }
  return Done{};
}

Status HostModel::load_weights(const LoadOptions& options) {
  const DevicePlan& plan = device_plan();
  if (!plan.synthetic()) {
    const std::span<const uint8_t> bytes = file_->bytes(plan.weights_section);
    weights_ = bytes.data();
    if (bytes.empty()) return Done{};
    will_need(bytes);
    return options.verify_weights ? file_->verify(plan.weights_section, options.progress)
                                  : Status(Done{});
  }
  const std::optional<uint64_t> available = available_memory();
  if (available && plan.weight_bytes > *available) {
    return Error{fmt::format("{}: synthetic weights need {}, but {} of memory are available",
                             file_->path(), megabytes(plan.weight_bytes), megabytes(*available))};
  }
  Result<Memory> memory =
      Memory::allocate(plan.weight_bytes + buffer_slack, "synthetic weights", true);
  if (!memory.ok()) return memory.error();
  synthetic_weights_ = std::move(*memory);
  fill_weights(plan, file_->plan().seed, synthetic_weights_.data(), *pool_, options);
  weights_ = synthetic_weights_.data();
  return Done{};
}

Result<std::unique_ptr<DeviceModel>> HostModel::load(std::shared_ptr<const PlanFile> file,
                                                     const LoadOptions& options) {
  auto model = std::make_unique<HostModel>();
  model->file_ = std::move(file);
  const HostCpu cpu = detect_host_cpu();
  const Result<const CodeObject*> code = choose_code(model->plan(), cpu);
  if (!code.ok()) return Error{fmt::format("{}: {}", model->file_->path(), code.error().message)};
  model->code_ = *code;
  model->info_ = {.id = "host",
                  .name = cpu.model_name,
                  .architecture = cpu.family,
                  .total_memory = total_memory().value_or(0),
                  .free_memory = available_memory().value_or(0)};
  Result<std::shared_ptr<const HostCode>> kernels = HostCode::load(*model->file_, *model->code_);
  if (!kernels.ok()) return kernels.error();
  model->kernels_ = std::move(*kernels);
  const int threads = options.threads != 0 ? options.threads : std::min(cpu.threads, most_threads);
  try {
    model->pool_ = std::make_unique<ThreadPool>(threads);
  } catch (const std::exception& exception) {
    return Error{
        fmt::format("cannot start {} threads: {}; ask for fewer", threads, exception.what())};
  }
  if (Status status = model->load_weights(options); !status.ok()) return status.error();
  return std::unique_ptr<DeviceModel>(std::move(model));
}

Result<std::unique_ptr<DeviceSession>> HostModel::create_session(int64_t context, int64_t capacity,
                                                                 Executor executor) {
  if (executor == Executor::automatic) executor = Executor::persistent;
  if (executor == Executor::graph)
    return Error{"the host has no graphs; its executors are eager and persistent"};
  auto session = std::make_unique<HostSession>(*this, context, capacity, executor);
  if (Status status = session->prepare(); !status.ok()) return status.error();
  return std::unique_ptr<DeviceSession>(std::move(session));
}

Result<double> HostModel::streaming_read(uint64_t bytes) {
  if (bytes == 0) {
    bytes = std::min(most_streamed, available_memory().value_or(most_streamed) / 4);
  }
  const double rate = measure_streaming_read(pool_->workers(), bytes);
  if (rate > 0) return rate;
  return Error{"the streaming read of the memory cannot be measured: too little memory"};
}

}  // namespace

Result<std::unique_ptr<DeviceModel>> load_on_host(std::shared_ptr<const PlanFile> file,
                                                  const LoadOptions& options) {
  return HostModel::load(std::move(file), options);
}

}  // namespace sinter::runtime
