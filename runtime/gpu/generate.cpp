// Drawing tokens on a GPU.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/gpu/draws.h"
#include "runtime/gpu/session.h"

namespace sinter::runtime {
namespace {

SampleParams sample_params(const SamplingOptions& options, uint64_t draw) {
  const bool greedy = options.greedy || options.temperature == 0;
  return {.seed = options.seed,
          .draw = draw,
          .scale = greedy ? 0 : sampling_scale(options.temperature),
          .top_p = options.top_p,
          .top_k = options.top_k,
          .drawn = 0};
}

}  // namespace

Status GpuSession::upload_sampling(std::span<const SampleParams> sampling) {
  std::memcpy(pinned(sampling_offset_), sampling.data(), sampling.size_bytes());
  return device_.check(
      driver_.hipMemcpyHtoDAsync(at(layout_.sampling.offset), pinned(sampling_offset_),
                                 sampling.size_bytes(), stream_.get()),
      "telling the GPU how to sample");
}

// Of the rows of the step.
Status GpuSession::launch_sampler() {
  GpuArguments arguments{};
  arguments.step = reinterpret_cast<const StepParams*>(at(layout_.step.offset));
  void* const args[] = {at(layout_.logits.offset),
                        at(layout_.sampling.offset),
                        at(layout_.step.offset),
                        pinned(ring_offset_),
                        at(layout_.workspace.offset),
                        reinterpret_cast<void*>(uint64_t{ring_size}),
                        reinterpret_cast<void*>(model_.plan().vocab_size)};
  std::copy(std::begin(args), std::end(args), arguments.args);
  return device_.launch(model_.sampler(), sampler_blocks_, gpu_sample_shared_bytes, stream_.get(),
                        arguments, "", "sinter_sample");
}

Status GpuSession::refresh_logits(std::span<const Drawing> drawings) {
  for (const Drawing& drawing : drawings)
    if (Status s = refresh_logits(static_cast<int>(drawing.sequence->logits_row)); !s.ok())
      return s;
  return Done{};
}

// Draws that were issued since the last upload, and those that were waited for. Waits for the rest
// when it goes.
class GpuSession::Flight {
 public:
  explicit Flight(GpuSession& session) : session_(session) {}
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;
  ~Flight() { land(); }

  void start(std::vector<Drawing*> drawings) {
    drawings_ = std::move(drawings);
    decoded_.assign(drawings_.size(), {});
  }
  int64_t issued() const { return issued_; }
  int64_t waited() const { return waited_; }
  // Marks the end of the draws that were enqueued last.
  Status issue() {
    const GpuEvent& event = session_.drawn_[slot(issued_++)];
    return session_.device_.check(
        session_.driver_.hipEventRecord(event.get(), session_.stream_.get()),
        "marking drawn tokens");
  }
  // Afterwards token(row) is what the row drew.
  Status wait() {
    const int64_t draw = waited_++;
    const int code = session_.driver_.hipEventSynchronize(session_.drawn_[slot(draw)].get());
    return code == hip_success ? Status(Done{}) : session_.device_.error(code, "decoding");
  }
  int32_t token(size_t row) const {
    const auto* ring = reinterpret_cast<const int32_t*>(session_.pinned(session_.ring_offset_));
    return ring[row * ring_size + static_cast<size_t>((waited_ - 1) % ring_size)];
  }
  // The row's sequence has this token now, at `position`.
  void decoded(size_t row, int32_t token, int64_t position) {
    decoded_[row] = Stale{token, position};
  }
  // Waits for all that was issued. What went further than the sequences took their logits.
  void land() {
    // An error is met again by whatever comes next.
    if (issued_ > 0) (void)session_.driver_.hipStreamSynchronize(session_.stream_.get());
    for (size_t row = 0; row < drawings_.size(); ++row) {
      const Drawing& d = *drawings_[row];
      if (issued_ == waited_) {
        if (decoded_[row]) session_.stale_.erase(d.number);
      } else if (decoded_[row]) {
        session_.stale_[d.number] = *decoded_[row];
      } else if (d.sequence->logits_row == d.number) {
        d.sequence->logits_row = -1;  // it is not known which token makes them
      }
    }
    drawings_.clear();
    issued_ = waited_ = 0;
  }

 private:
  size_t slot(int64_t draw) const { return static_cast<size_t>(draw % session_.in_flight_); }

  GpuSession& session_;
  std::vector<Drawing*> drawings_;
  std::vector<std::optional<Stale>> decoded_;
  int64_t issued_ = 0, waited_ = 0;
};

Error GpuSession::sampling_error(const Drawing& drawing, int32_t token) {
  const auto row = logits(drawing.sequence->logits_row, 1);
  if (!row.ok()) return row.error();
  const auto reason = sample(*row, drawing.options, drawing.sequence->draws);
  if (!reason.ok()) return reason.error();
  return Error{
      fmt::format("sampling: {} reports error {}, but the logits are sound; this is a bug in "
                  "sinter, please report it",
                  model_.info().id, token)};
}

// Sequences draw together as long as the same ones do; when one ends, the others begin anew with
// the token that each drew last.
Status GpuSession::generate(std::span<Drawing> drawings, const Grow& grow,
                            const Session::DrawSink& sink) {
  if (Status s = device_.make_current(); !s.ok()) return s;
  if (Status s = refresh_logits(drawings); !s.ok()) return s;
  // All steps of a flight have their logits where the first tokens are drawn from: in the row of
  // the sequence's number, wherever its last step left them.
  for (const Drawing& d : drawings)
    if (d.sequence->logits_row != d.number)
      if (Status s = copy_logits(d.sequence->logits_row, d.number); !s.ok()) return s;
  copied_ = 0;
  std::vector<size_t> active(drawings.size());
  for (size_t i = 0; i < active.size(); ++i) active[i] = i;
  std::vector<int32_t> last(drawings.size());  // token drawn by each
  std::vector<SampleParams> sampling(static_cast<size_t>(size_.sequences));
  Flight flight(*this);
  bool has_last = false;  // tokens were drawn and not decoded; else logits are there

  while (!active.empty()) {
    std::vector<StepRow> rows;
    std::vector<Drawing*> riders;
    std::vector<int64_t> begin;  // position at which each decodes next
    int64_t least_left = INT64_MAX;
    for (const size_t i : active) {
      Drawing& d = drawings[i];
      riders.push_back(&d);
      // As if the last step had been one of its last token.
      rows.push_back({.token = last[i],
                      .position = static_cast<int>(d.sequence->position - (has_last ? 0 : 1)),
                      .sequence = d.number,
                      .logits = d.number});
      begin.push_back(d.sequence->position);
      sampling[static_cast<size_t>(d.number)] = sample_params(d.options, d.sequence->draws);
      least_left = std::min(least_left, d.count - d.given);
    }
    GpuSchedule& schedule = schedules_[*model_.device_plan().schedule_for(
        Schedule::Entry::main, static_cast<int64_t>(rows.size()))];
    if (Status s = upload_sampling(sampling); !s.ok()) return s;
    if (Status s = upload(rows); !s.ok()) return s;
    flight.start(riders);
    int64_t steps = 0;  // of decoding in this flight
    const auto decode_and_draw = [&]() -> Status {
      std::vector<Growth> growths;
      for (size_t r = 0; r < active.size(); ++r)
        growths.push_back({riders[r]->number, begin[r] + steps, begin[r] + steps + 1});
      ++steps;
      if (Status s = grow(growths); !s.ok()) return s;
      if (Status s = issue(schedule); !s.ok()) return s;
      return flight.issue();
    };
    if (!has_last) {
      if (Status s = launch_sampler(); !s.ok()) return s;
      if (Status s = flight.issue(); !s.ok()) return s;
    }
    std::vector<size_t> going_on;
    bool same = true;  // all go on
    while (same) {
      // The first tokens come alone: should they be the last, the logits that they were drawn from,
      // perhaps those of a prefill, are still there.
      const int64_t drawn = flight.waited();
      const int64_t ahead = drawn == 0 && !has_last ? 1 : std::min(least_left, drawn + in_flight_);
      while (flight.issued() < ahead)
        if (Status s = decode_and_draw(); !s.ok()) return s;
      const bool was_decoded = has_last || drawn > 0;
      if (Status s = flight.wait(); !s.ok()) return s;
      going_on.clear();
      std::optional<size_t> failed;
      for (size_t r = 0; r < active.size(); ++r) {
        Drawing& d = *riders[r];
        int32_t& token = last[active[r]];
        if (was_decoded) {
          flight.decoded(r, token, d.sequence->position++);
          d.sequence->logits_row = d.number;
          d.sequence->logits_rows = 1;
        }
        token = flight.token(r);
        if (token < 0) {
          failed = r;
          continue;
        }
        ++d.sequence->draws;
        if (sink(active[r], token) && ++d.given < d.count) going_on.push_back(active[r]);
      }
      if (failed) {
        flight.land();
        return sampling_error(*riders[*failed], last[active[*failed]]);
      }
      same = going_on.size() == active.size();
    }
    flight.land();
    active = std::move(going_on);
    has_last = true;
  }
  return Done{};
}

}  // namespace sinter::runtime
