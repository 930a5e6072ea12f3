#include "runtime/gpu/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "runtime/gpu/draws.h"
#include "runtime/session/probe.h"
#include "runtime/session/step_table.h"

namespace sinter::runtime {
namespace {

// Of the host's pinned memory.
constexpr uint64_t pinned_alignment = 256;

// Blocks of a phase that have work.
unsigned working_blocks(const Phase& phase, size_t rows) {
  constexpr uint64_t most = 1 << 30;
  const uint64_t per_block = phase.rows_per_block;
  const uint64_t rounds = per_block == 0 ? 1 : (rows + per_block - 1) / per_block;
  return static_cast<unsigned>(std::clamp<uint64_t>(phase.blocks * rounds, 1, most));
}

}  // namespace

// A fork or a snapshot does not wait for what it copies.
GpuSession::~GpuSession() {
  if (stream_.get() != nullptr && device_.make_current().ok())
    (void)driver_.hipStreamSynchronize(stream_.get());
}

Status GpuSession::allocate() {
  const DevicePlan& plan = model_.device_plan();
  auto memory = device_.allocate(layout_.bytes, "a session");
  if (!memory.ok()) return memory.error();
  memory_ = std::move(*memory);
  const auto sequences = static_cast<uint64_t>(size_.sequences);
  const auto behind = [](uint64_t offset, uint64_t bytes) {
    return round_up(offset + bytes, pinned_alignment);
  };
  pages_offset_ = behind(0, step_table_bytes(plan.chunk));
  sampling_offset_ = behind(
      pages_offset_, sequences * static_cast<uint64_t>(size_.pages_per_sequence) * sizeof(int32_t));
  ring_offset_ = behind(sampling_offset_, sequences * sizeof(SampleParams));
  logits_offset_ = behind(ring_offset_, sequences * ring_size * sizeof(int32_t));
  // Where logits are copied to, and before there are any, what probes computed.
  const uint64_t copied_bytes =
      std::max(static_cast<uint64_t>(plan.logits_rows) * layout_.row_bytes,
               plan.probes.size() * sizeof(float));
  auto pinned = device_.allocate_pinned(logits_offset_ + copied_bytes, "a session");
  if (!pinned.ok()) return pinned.error();
  pinned_ = std::move(*pinned);
  auto stream = device_.create_stream();
  if (!stream.ok()) return stream.error();
  stream_ = std::move(*stream);
  // Replays ahead of a sequence are taken back where that can be done.
  const int64_t far = model_.plan().max_context;
  const bool can_go_ahead = least_kept(model_.device_plan().states, far) + most_in_flight <= far;
  in_flight_ = can_go_ahead ? most_in_flight : 1;
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
    GpuSchedule& added = schedules_.emplace_back();
    added.phases = std::move(*resolved);
    added.most_rows = schedule.most_rows;
  }
  one_row_ = *plan.schedule_for(Schedule::Entry::main, 1);
  one_draft_ = plan.schedule_for(Schedule::Entry::mtp, 1);
  const auto blocks =
      device_.resident_blocks(model_.sampler(), gpu_sample_shared_bytes, "sinter_sample");
  if (!blocks.ok()) return blocks.error();
  sampler_blocks_ = std::min<unsigned>(*blocks, gpu_sample_blocks);
  if (Status s = zero(0, layout_.bytes); !s.ok()) return s;
  if (Status s = probe(); !s.ok()) return s;
  if (executor_ != Executor::graph) return Done{};
  if (Status s = capture(decode()); !s.ok()) return s;
  return check_graph();
}

void* GpuSession::address(const Argument& argument) const {
  if (argument.region == Argument::Region::weights) return model_.weights() + argument.offset;
  return at(layout_.offset(model_.device_plan(), argument));
}

Result<std::vector<GpuSession::GpuPhase>> GpuSession::resolve(
    const std::vector<Phase>& phases) const {
  std::vector<GpuPhase> resolved;
  for (const Phase& phase : phases) {
    GpuPhase& r = resolved.emplace_back();
    r.phase = &phase;
    r.function = model_.kernel(phase.kernel);
    r.arguments.step = reinterpret_cast<const StepParams*>(at(layout_.step.offset));
    r.arguments.pages = reinterpret_cast<const int*>(at(layout_.pages.offset));
    r.arguments.pages_per_sequence = static_cast<int>(size_.pages_per_sequence);
    for (size_t i = 0; i < phase.arguments.size(); ++i)
      r.arguments.args[i] = address(phase.arguments[i]);
    const auto blocks = device_.resident_blocks(r.function, phase.shared_bytes,
                                                model_.device_plan().kernels[phase.kernel].symbol);
    if (!blocks.ok()) return Error{fmt::format("phase {}: {}", phase.name, blocks.error().message)};
    r.resident = *blocks;
  }
  return resolved;
}

Status GpuSession::zero(uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return Done{};
  return device_.check(driver_.hipMemsetAsync(at(offset), 0, bytes, stream_.get()),
                       "clearing a session's memory");
}

Status GpuSession::copy(uint64_t to, uint64_t from, uint64_t bytes, std::string_view doing) {
  if (bytes == 0 || to == from) return Done{};
  return device_.check(driver_.hipMemcpyDtoDAsync(at(to), at(from), bytes, stream_.get()), doing);
}

Status GpuSession::copy_fixed(int from, int to) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  return copy(layout_.place(to), layout_.place(from), layout_.states.fixed_bytes,
              "copying a sequence");
}

Status GpuSession::clear_fixed(int sequence) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  return zero(layout_.place(sequence), layout_.states.fixed_bytes);
}

// Replays in flight read entries that stay as they are.
Status GpuSession::set_pages(std::span<const int32_t> table, std::span<const PageCopy> copies) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  for (const PageCopy& page : copies)
    if (Status s = copy(layout_.page(page.to), layout_.page(page.from), layout_.states.page_bytes,
                        "copying a page");
        !s.ok())
      return s;
  std::memcpy(pinned(pages_offset_), table.data(), table.size_bytes());
  return device_.check(driver_.hipMemcpyHtoDAsync(at(layout_.pages.offset), pinned(pages_offset_),
                                                  table.size_bytes(), stream_.get()),
                       "telling the GPU where pages are");
}

// Every step ends with waiting for it, so the pinned copy is not in use.
Status GpuSession::upload(std::span<const StepRow> rows, std::span<const int32_t> hidden) {
  const int64_t chunk = model_.device_plan().chunk;
  write_step_table(pinned(0), chunk, rows, hidden);
  return device_.check(driver_.hipMemcpyHtoDAsync(at(layout_.step.offset), pinned(0),
                                                  step_table_bytes(chunk), stream_.get()),
                       "telling the GPU what to run");
}

Status GpuSession::launch(const GpuPhase& phase, unsigned blocks, bool early) {
  return device_.launch(phase.function, blocks, phase.phase->shared_bytes, stream_.get(),
                        phase.arguments, "phase ", phase.phase->name, early);
}

// Of any number of rows up to the schedule's.
Status GpuSession::launch_all(const GpuSchedule& schedule, bool early) {
  for (const GpuPhase& phase : schedule.phases) {
    const auto rows = static_cast<size_t>(schedule.most_rows);
    if (Status s =
            launch(phase, std::min(phase.resident, working_blocks(*phase.phase, rows)), early);
        !s.ok())
      return s;
  }
  return Done{};
}

Status GpuSession::launch_rows(const GpuSchedule& schedule, size_t rows) {
  for (const GpuPhase& phase : schedule.phases) {
    if (Status s = launch(phase, working_blocks(*phase.phase, rows)); !s.ok()) return s;
  }
  return Done{};
}

Status GpuSession::capture(GpuSchedule& schedule) {
  auto graph = device_.capture(stream_.get(), [&] {
    Status launched = launch_all(schedule, model_.code().early_launch);
    return launched.ok() ? launch_sampler() : launched;
  });
  if (!graph.ok()) return graph.error();
  schedule.graph = std::move(*graph);
  return Done{};
}

// Decodes the tokens that lie in device memory and draws the next ones.
Status GpuSession::issue(GpuSchedule& schedule) {
  if (executor_ == Executor::graph) {
    if (schedule.graph.get() == nullptr)
      if (Status s = capture(schedule); !s.ok()) return s;
    return device_.check(driver_.hipGraphLaunch(schedule.graph.get(), stream_.get()),
                         "replaying a step");
  }
  if (Status s = launch_all(schedule); !s.ok()) return s;
  return launch_sampler();
}

Status GpuSession::step(size_t schedule, std::span<const StepRow> rows,
                        std::span<const int32_t> hidden) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  if (model_.device_plan().schedules[schedule].entry == Schedule::Entry::main)
    for (const StepRow& row : rows) stale_.erase(row.sequence);
  copied_ = 0;
  if (Status s = upload(rows, hidden); !s.ok()) return s;
  GpuSchedule& of = schedules_[schedule];
  const bool one_row = schedule == one_row_ || schedule == one_draft_;
  Status launched = profiled_ == schedule          ? measure(of, rows.size())
                    : !one_row                     ? launch_rows(of, rows.size())
                    : executor_ == Executor::graph ? issue(of)
                                                   : launch_all(of);
  // Also after an error: what was launched before it uses the pinned memory.
  const int code = driver_.hipStreamSynchronize(stream_.get());
  if (!launched.ok() || code == hip_success) return launched;
  return device_.error(
      code, fmt::format("the {} step at position {}", model_.device_plan().schedules[schedule].name,
                        rows[0].position));
}

// Launches with a mark between phases. The GPU is kept busy reading weights until everything is
// queued, or the marks would measure how fast the host launches.
Status GpuSession::measure(const GpuSchedule& schedule, size_t rows) {
  constexpr uint64_t read_per_phase = 20 << 20;  // 5 us at 4 TB/s
  const std::vector<GpuPhase>& phases = schedule.phases;
  while (marks_.size() <= phases.size()) {
    auto mark = device_.create_event(true);
    if (!mark.ok()) return mark.error();
    marks_.push_back(std::move(*mark));
  }
  const auto mark = [this](size_t i) {
    return device_.check(driver_.hipEventRecord(marks_[i].get(), stream_.get()),
                         "marking the time");
  };
  const uint64_t readable = model_.device_plan().weight_bytes / 16 * 16;
  const uint64_t wanted = read_per_phase * phases.size();
  for (uint64_t read = 0; readable >= read_per_phase && read < wanted; read += readable) {
    if (Status s = model_.launch_stream(model_.weights(), readable, stream_.get()); !s.ok())
      return s;
  }
  if (Status s = mark(0); !s.ok()) return s;
  for (size_t i = 0; i < phases.size(); ++i) {
    const GpuPhase& phase = phases[i];
    if (Status s = launch(phase, std::min(phase.resident, working_blocks(*phase.phase, rows)));
        !s.ok())
      return s;
    if (Status s = mark(i + 1); !s.ok()) return s;
  }
  if (Status s = device_.wait(stream_.get(), "the measured step"); !s.ok()) return s;
  for (size_t i = 0; i < phases.size(); ++i) {
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

// The rows are copied to the start of the pinned room for logits.
Result<std::span<const float>> GpuSession::logits(int64_t first_row, int64_t rows) {
  if (Status s = device_.make_current(); !s.ok()) return s.error();
  if (Status s = refresh_logits(static_cast<int>(first_row)); !s.ok()) return s.error();
  const uint64_t bytes = static_cast<uint64_t>(rows) * layout_.row_bytes;
  if (first_row < first_copied_ || first_row + rows > first_copied_ + copied_) {
    const int code = driver_.hipMemcpyDtoHAsync(
        pinned(logits_offset_), at(layout_.logits_row(first_row)), bytes, stream_.get());
    const int waited = driver_.hipStreamSynchronize(stream_.get());
    if (code != hip_success || waited != hip_success)
      return device_.error(code != hip_success ? code : waited, "copying logits");
    first_copied_ = first_row;
    copied_ = rows;
  }
  const uint8_t* const copied =
      pinned(logits_offset_ + static_cast<uint64_t>(first_row - first_copied_) * layout_.row_bytes);
  return std::span<const float>(reinterpret_cast<const float*>(copied), bytes / 4);
}

Status GpuSession::copy_logits(int64_t from, int64_t to) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  if (Status s = refresh_logits(static_cast<int>(from)); !s.ok()) return s;
  stale_.erase(static_cast<int>(to));
  copied_ = 0;
  return copy(layout_.logits_row(to), layout_.logits_row(from), layout_.row_bytes,
              "copying logits");
}

Status GpuSession::copy_hidden(int64_t from, int64_t to) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  return copy(layout_.hidden_row(to), layout_.hidden_row(from), layout_.hidden_row_bytes,
              "copying a hidden state");
}

// Rows of the logits buffer that belong to a sequence have its number.
Status GpuSession::refresh_logits(int sequence) {
  const auto found = stale_.find(sequence);
  if (found == stale_.end()) return Done{};
  const StepRow row{.token = found->second.token,
                    .position = static_cast<int>(found->second.position),
                    .sequence = sequence,
                    .logits = sequence};
  return step(one_row_, {&row, 1}, {});
}

// Runs the probe schedule and compares what it computed.
Status GpuSession::probe() {
  const DevicePlan& plan = model_.device_plan();
  if (plan.probes.empty()) return Done{};
  const auto schedule = plan.schedule_for(Schedule::Entry::probe, 1);
  if (Status s = upload({&probe_row, 1}); !s.ok()) return s;
  Status launched = launch_all(schedules_[*schedule]);
  auto* const computed = reinterpret_cast<float*>(pinned(logits_offset_));
  int code = hip_success;
  for (size_t i = 0; i < plan.probes.size() && launched.ok() && code == hip_success; ++i)
    code =
        driver_.hipMemcpyDtoHAsync(computed + i, at(layout_.arena.offset + plan.probes[i].offset),
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
  if (Status s = upload({&probe_row, 1}); !s.ok()) return s.error();
  if (Status s = replay ? issue(decode()) : launch_all(decode()); !s.ok()) return s.error();
  copied_ = 0;
  const auto row = logits(0, 1);
  if (!row.ok()) return row.error();
  std::vector<float> copy(row->begin(), row->end());
  if (Status s = zero(0, layout_.state_bytes()); !s.ok()) return s.error();
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
        model_.info().id, decode().phases.size(), i, a, b)};
  }
  return Done{};
}

Result<std::unique_ptr<DeviceSession>> create_gpu_session(const GpuModel& model,
                                                          const SessionSize& size,
                                                          Executor executor) {
  auto session = std::make_unique<GpuSession>(model, size, executor);
  if (Status s = session->prepare(); !s.ok()) return s.error();
  return std::unique_ptr<DeviceSession>(std::move(session));
}

}  // namespace sinter::runtime
