// Sequences on the host.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>

#include "runtime/host/model.h"
#include "runtime/session/probe.h"
#include "runtime/session/step_table.h"
#include "runtime/support/megabytes.h"

namespace sinter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// A phase with its arguments resolved to addresses.
struct ResolvedPhase {
  PhaseFunction function = nullptr;
  std::vector<void*> arguments;
};

class HostSession : public DeviceSession {
 public:
  HostSession(HostModel& model, const SessionSize& size, Executor executor)
      : model_(model),
        executor_(executor),
        size_(size),
        layout_(model.plan(), model.device_plan(), size),
        pages_(static_cast<size_t>(size.sequences * size.pages_per_sequence)) {}
  Status prepare();

  Executor executor() const override { return executor_; }
  uint64_t bytes() const override {
    return state_.bytes() + arena_.bytes() + step_.bytes() + logits_.bytes() + hidden_.bytes() +
           scratch_.bytes();
  }
  Status step(size_t schedule, std::span<const StepRow> rows,
              std::span<const int32_t> hidden) override;
  Status set_pages(std::span<const int32_t> table, std::span<const PageCopy> copies) override;
  Status copy_fixed(int from, int to) override;
  Status clear_fixed(int sequence) override;
  bool logits_at_hand() const override { return true; }
  Result<std::span<const float>> logits(int64_t first_row, int64_t rows) override;
  Status copy_logits(int64_t from, int64_t to) override;
  Status copy_hidden(int64_t from, int64_t to) override;
  Status generate(std::span<Drawing> drawings, const Grow& grow,
                  const Session::DrawSink& sink) override;
  void profile(std::optional<size_t> schedule) override {
    profiled_ = schedule;
    if (schedule) times_.assign(schedules_[*schedule].size(), {});
  }
  const std::vector<PhaseTime>& times() const override { return times_; }

 private:
  Status allocate();
  std::vector<ResolvedPhase> resolve(const std::vector<Phase>& phases) const;
  void* address(const Argument& argument) const;
  void run_phase(const ResolvedPhase& phase, Share share) const;
  Status probe();
  // The first buffers of the layout are one piece of memory.
  uint8_t* page(int32_t number) const { return state_.data() + layout_.page(number); }
  uint8_t* place(int sequence) const { return state_.data() + layout_.place(sequence); }

  HostModel& model_;
  Executor executor_;
  SessionSize size_;
  SessionLayout layout_;

  Memory state_;  // pages, then the places of sequences
  Memory arena_, step_, logits_, hidden_, scratch_;
  uint64_t scratch_stride_ = 0;
  std::vector<int32_t> pages_;                         // as Pool::table
  std::vector<std::vector<ResolvedPhase>> schedules_;  // as in the device plan

  std::optional<size_t> profiled_;  // schedule
  std::vector<PhaseTime> times_;
};

Status HostSession::prepare() {
  if (Status status = allocate(); !status.ok()) return status;
  const DevicePlan& plan = model_.device_plan();
  for (const Schedule& schedule : plan.schedules) schedules_.push_back(resolve(schedule.phases));
  return probe();
}

Status HostSession::allocate() {
  const Plan& p = model_.plan();
  const DevicePlan& d = model_.device_plan();
  const uint64_t state_bytes = layout_.state_bytes();
  // Workers' scratch starts at lines of their own.
  scratch_stride_ = round_up(d.scratch_bytes + buffer_slack, 64);
  const uint64_t scratch_bytes = scratch_stride_ * static_cast<uint64_t>(model_.pool().workers());
  const uint64_t activations = layout_.bytes - state_bytes + scratch_bytes;
  const std::optional<uint64_t> available = available_memory();
  if (available && (activations > *available || state_bytes > *available - activations)) {
    const int64_t fits = activations < *available
                             ? context_that_fits(d, p.max_context, *available - activations)
                             : 0;
    return Error{fmt::format(
        "a context of {} needs {} for the state and {} for activations, but {} of "
        "memory are available; {}",
        size_.context, megabytes(state_bytes), megabytes(activations), megabytes(*available),
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
  for (const Status& status : {take(state_, state_bytes, "the state", false),
                               take(arena_, layout_.arena.bytes, "activations", true),
                               take(step_, layout_.step.bytes, "steps", false),
                               take(logits_, layout_.logits.bytes, "logits", true),
                               take(hidden_, layout_.hidden.bytes, "hidden states", false),
                               take(scratch_, scratch_bytes, "scratch", true)}) {
    if (!status.ok()) return status;
  }
  return Done{};
}

void* HostSession::address(const Argument& argument) const {
  switch (argument.region) {
    // Kernels take all arguments as void*; what they do with weights is read them (stored ones are
    // mapped read-only).
    case Argument::Region::weights:
      return const_cast<uint8_t*>(model_.weights_at(argument.offset));
    case Argument::Region::state:
      return state_.data() + layout_.offset(model_.device_plan(), argument);
    case Argument::Region::arena:
      return arena_.data() + argument.offset;
    case Argument::Region::logits:
      return logits_.data() + argument.offset;
    case Argument::Region::hidden:
      return hidden_.data() + argument.offset;
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
      .step = reinterpret_cast<const StepParams*>(step_.data()),
      .pages = pages_.data(),
      .pages_per_sequence = size_.pages_per_sequence,
      .scratch = scratch_.data() + scratch_stride_ * static_cast<uint64_t>(share.index),
      .worker = share.index,
      .workers = share.count};
  phase.function(&launch);
}

Status HostSession::probe() {
  const DevicePlan& plan = model_.device_plan();
  const std::lock_guard<std::mutex> lock(model_.step_mutex());
  write_step_table(step_.data(), plan.chunk, {&probe_row, 1});
  if (const auto schedule = plan.schedule_for(Schedule::Entry::probe, 1))
    for (const ResolvedPhase& phase : schedules_[*schedule])
      model_.pool().run([&](Share share) { run_phase(phase, share); });
  std::vector<float> computed;
  for (const Probe& probe : plan.probes)
    std::memcpy(&computed.emplace_back(), arena_.data() + probe.offset, sizeof(float));
  return check_probes(plan.probes, computed, model_.info().id, model_.code().target);
}

Status HostSession::set_pages(std::span<const int32_t> table, std::span<const PageCopy> copies) {
  std::ranges::copy(table, pages_.begin());
  for (const PageCopy& copy : copies)
    std::memcpy(page(copy.to), page(copy.from), layout_.states.page_bytes);
  return Done{};
}

Status HostSession::copy_fixed(int from, int to) {
  std::memcpy(place(to), place(from), layout_.states.fixed_bytes);
  return Done{};
}

Status HostSession::clear_fixed(int sequence) {
  std::memset(place(sequence), 0, layout_.states.fixed_bytes);
  return Done{};
}

Status HostSession::step(size_t schedule, std::span<const StepRow> rows,
                         std::span<const int32_t> hidden) {
  const std::lock_guard<std::mutex> lock(model_.step_mutex());
  write_step_table(step_.data(), model_.device_plan().chunk, rows, hidden);
  const std::vector<ResolvedPhase>& phases = schedules_[schedule];
  const bool timing = profiled_ == schedule;
  if (executor_ == Executor::persistent && !timing) {
    model_.pool().run(
        static_cast<int>(phases.size()),
        [&](int phase, Share share) { run_phase(phases[static_cast<size_t>(phase)], share); },
        static_cast<double>(rows.size()));
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

Status HostSession::copy_logits(int64_t from, int64_t to) {
  const std::span<const float> row = *logits(from, 1);
  std::memcpy(const_cast<float*>(logits(to, 1)->data()), row.data(), row.size_bytes());
  return Done{};
}

Status HostSession::copy_hidden(int64_t from, int64_t to) {
  const auto row = [this](int64_t number) {
    return hidden_.data() + layout_.hidden_row_bytes * static_cast<uint64_t>(number);
  };
  std::memmove(row(to), row(from), layout_.hidden_row_bytes);
  return Done{};
}

Status HostSession::generate(std::span<Drawing> drawings, const Grow& grow,
                             const Session::DrawSink& sink) {
  const int64_t vocab_size = model_.plan().vocab_size;
  std::vector<size_t> active(drawings.size());
  for (size_t i = 0; i < active.size(); ++i) active[i] = i;
  std::vector<StepRow> rows;
  std::vector<Growth> growths;
  while (true) {
    rows.clear();
    growths.clear();
    std::vector<size_t> going_on;
    for (const size_t i : active) {
      Drawing& d = drawings[i];
      Sequence& s = *d.sequence;
      const auto token = sample(*logits(s.logits_row, 1), d.options, s.draws);
      if (!token.ok()) return token.error();
      ++s.draws;
      if (!sink(i, *token) || ++d.given == d.count) continue;
      going_on.push_back(i);
      growths.push_back({d.number, s.position, s.position + 1});
      rows.push_back({.token = *token,
                      .position = static_cast<int>(s.position),
                      .sequence = d.number,
                      .logits = d.number});
    }
    active = std::move(going_on);
    if (active.empty()) return Done{};
    if (Status status = grow(growths); !status.ok()) return status;
    const auto count = static_cast<int64_t>(rows.size());
    const auto schedule = *model_.device_plan().schedule_for(Schedule::Entry::main, count);
    for (const size_t i : active) drawings[i].sequence->logits_row = -1;
    if (Status status = step(schedule, rows, {}); !status.ok()) return status;
    for (const size_t i : active) ++drawings[i].sequence->position;
    for (const size_t i : active) {
      const Drawing& d = drawings[i];
      if (Status status = check_logits(*logits(d.number, 1), vocab_size, d.sequence->position - 1);
          !status.ok())
        return status;
      d.sequence->logits_row = d.number;
      d.sequence->logits_rows = 1;
    }
  }
}

}  // namespace

Result<std::unique_ptr<DeviceSession>> create_host_session(HostModel& model,
                                                           const SessionSize& size,
                                                           Executor executor) {
  auto session = std::make_unique<HostSession>(model, size, executor);
  if (Status status = session->prepare(); !status.ok()) return status.error();
  return std::unique_ptr<DeviceSession>(std::move(session));
}

}  // namespace sinter::runtime
