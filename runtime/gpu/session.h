// Sequences on a GPU. A decode step is one replay of a graph: a schedule of few rows and the
// drawing of the next token of each. Tokens, positions and the numbers of draws lie in device
// memory and are moved on there, so replays follow one another without the host, which reads the
// tokens from rings of pinned memory behind them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "runtime/gpu/model.h"

namespace sinter::runtime {

class GpuSession : public DeviceSession {
 public:
  GpuSession(const GpuModel& model, const SessionSize& size, Executor executor)
      : model_(model),
        device_(model.device()),
        driver_(device_.driver()),
        executor_(executor),
        size_(size),
        layout_(model.plan(), model.device_plan(), size) {}
  ~GpuSession() override;
  GpuSession(const GpuSession&) = delete;
  GpuSession& operator=(const GpuSession&) = delete;
  Status prepare();

  Executor executor() const override { return executor_; }
  uint64_t bytes() const override { return layout_.bytes; }
  Status step(size_t schedule, std::span<const StepRow> rows,
              std::span<const int32_t> hidden) override;
  Status set_pages(std::span<const int32_t> table, std::span<const PageCopy> copies) override;
  Status copy_fixed(int from, int to) override;
  Status clear_fixed(int sequence) override;
  bool logits_at_hand() const override { return false; }
  Result<std::span<const float>> logits(int64_t first_row, int64_t rows) override;
  Status copy_logits(int64_t from, int64_t to) override;
  Status copy_hidden(int64_t from, int64_t to) override;
  Status generate(std::span<Drawing> drawings, const Grow& grow,
                  const Session::DrawSink& sink) override;
  void profile(std::optional<size_t> schedule) override {
    profiled_ = schedule;
    if (schedule) times_.assign(schedules_[*schedule].phases.size(), {});
  }
  const std::vector<PhaseTime>& times() const override { return times_; }

 private:
  struct GpuPhase {
    const Phase* phase = nullptr;
    HipFunction function = nullptr;
    GpuArguments arguments{};
    unsigned resident = 0;  // blocks that the GPU holds at one time
  };
  // A schedule of the device plan.
  struct GpuSchedule {
    std::vector<GpuPhase> phases;
    int64_t most_rows = 1;
    GpuGraph graph;  // with the drawing behind it; captured when it is needed first
  };
  class Flight;

  Status allocate();
  void* address(const Argument& argument) const;
  Result<std::vector<GpuPhase>> resolve(const std::vector<Phase>& phases) const;
  Status zero(uint64_t offset, uint64_t bytes);
  Status copy(uint64_t to, uint64_t from, uint64_t bytes, std::string_view doing);
  Status upload(std::span<const StepRow> rows, std::span<const int32_t> hidden = {});
  Status upload_sampling(std::span<const SampleParams> sampling);
  Status launch(const GpuPhase& phase, unsigned blocks, bool early = false);
  Status launch_all(const GpuSchedule& schedule, bool early = false);
  Status launch_rows(const GpuSchedule& schedule, size_t rows);
  Status launch_sampler();
  Status capture(GpuSchedule& schedule);
  Status issue(GpuSchedule& schedule);
  Status measure(const GpuSchedule& schedule, size_t rows);
  Status probe();
  Result<std::vector<float>> first_logits(bool replay);
  Status check_graph();
  // Their logits where they were, should replays have gone further than the sequences.
  Status refresh_logits(std::span<const Drawing> drawings);
  Status refresh_logits(int sequence);
  Error sampling_error(const Drawing& drawing, int32_t token);

  GpuSchedule& decode() { return schedules_[one_row_]; }
  uint8_t* at(uint64_t offset) const { return static_cast<uint8_t*>(memory_.get()) + offset; }
  uint8_t* pinned(uint64_t offset) const { return static_cast<uint8_t*>(pinned_.get()) + offset; }

  const GpuModel& model_;
  const GpuDevice& device_;
  const GpuDriver& driver_;
  Executor executor_;
  SessionSize size_;
  int64_t in_flight_ = 1;
  GpuSessionLayout layout_;

  GpuMemory memory_;
  PinnedMemory pinned_;  // what is copied to the device, rings of tokens, logits
  uint64_t pages_offset_ = 0, sampling_offset_ = 0, ring_offset_ = 0, logits_offset_ = 0;
  std::vector<GpuEvent> drawn_;         // after the replays in flight
  std::vector<GpuSchedule> schedules_;  // as in the device plan
  size_t one_row_ = 0;                  // the schedule of a step of one row
  std::optional<size_t> one_draft_;     // of one row of the entry mtp
  unsigned sampler_blocks_ = 0;

  // By sequence, whose logits were overwritten by replays that went further than it: decoding this
  // token at this position once more makes them again.
  struct Stale {
    int32_t token;
    int64_t position;
  };
  std::map<int, Stale> stale_;
  // Rows of logits that are in pinned memory.
  int64_t first_copied_ = 0, copied_ = 0;

  std::optional<size_t> profiled_;  // schedule
  std::vector<PhaseTime> times_;
  std::vector<GpuEvent> marks_;  // between phases

  GpuStream stream_;
};

}  // namespace sinter::runtime
