#include "runtime/session/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/session/device.h"

namespace sinter::runtime {

Session::Session() : sequence_(std::make_unique<Sequence>()) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Model> model, int64_t context,
                                                 Executor executor) {
  if (Status status = model->check_process(); !status.ok()) return status.error();
  const int64_t most = model->plan().max_context;
  if (context < 0 || context > most) {
    return Error{
        fmt::format("a context of {} is outside 1..{}, which the plan was compiled for; compile it "
                    "with a larger --max-context",
                    context, most)};
  }
  std::unique_ptr<Session> session(new Session());
  session->model_ = std::move(model);
  session->context_ = context != 0 ? context : most;
  const auto capacity =
      static_cast<int64_t>(round_up(static_cast<uint64_t>(session->context_), 16));
  auto device = session->model_->on_device().create_session(session->context_, capacity, executor);
  if (!device.ok()) return device.error();
  session->device_ = std::move(*device);
  return session;
}

Status Session::take_failure() {
  if (!failure_) return Done{};
  const Error error = *std::exchange(failure_, std::nullopt);
  return error;
}

Status Session::check_room(uint64_t tokens) const {
  if (tokens <= static_cast<uint64_t>(context_ - position())) return Done{};
  return Error{fmt::format(
      "{} tokens do not fit: the session holds {} of {} positions; make a longer context", tokens,
      position(), context_)};
}

Status Session::check_tokens(std::span<const int32_t> ids) const {
  if (ids.empty()) return Error{"no tokens to run"};
  if (Status status = check_room(ids.size()); !status.ok()) return status;
  const int64_t vocab_size = model_->plan().vocab_size;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return Error{fmt::format("token {} at index {} is outside the vocabulary of {}", ids[i], i,
                               vocab_size)};
    }
  }
  return Done{};
}

Status Session::prefill(std::span<const int32_t> tokens, int64_t logits_rows,
                        const LogitsSink& sink) {
  const DevicePlan& plan = model_->device_plan();
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check_tokens(tokens); !status.ok()) return status;
  const int64_t count = static_cast<int64_t>(tokens.size());
  const int64_t most = sink ? count : std::min(count, plan.logits_rows);
  if (logits_rows < 1 || logits_rows > most) {
    return Error{fmt::format("{} rows of logits were asked for, outside 1..{}", logits_rows, most)};
  }
  if (Status status = take_failure(); !status.ok()) return status;
  // All chunks of a prompt, however short, are read alike.
  const size_t schedule = *plan.schedule_for(Schedule::Entry::main, plan.chunk);
  const int64_t first_wanted = count - logits_rows;
  for (int64_t done = 0; done < count;) {
    int64_t size = std::min(plan.chunk, count - done);
    // A step gives at most plan.logits_rows rows: those of its last tokens.
    if (sink) size = std::min(size, std::max<int64_t>(first_wanted - done, 0) + plan.logits_rows);
    const int64_t wanted =
        std::min(size, done + size - first_wanted);  // <= 0 when none of the chunk's are
    const int64_t rows = std::max<int64_t>(1, wanted);
    if (Status status = device_->step(
            schedule, tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(size)),
            position(), rows);
        !status.ok())
      return status;
    sequence_->position += size;
    sequence_->logits_row = -1;
    done += size;
    if (sink && wanted > 0) {
      const auto logits = device_->logits(0, rows);
      if (!logits.ok()) return logits.error();
      if (Status status = check_logits(*logits, model_->plan().vocab_size, position() - rows);
          !status.ok())
        return status;
      sink(*logits, rows);
    } else if (done == count && device_->logits_at_hand()) {
      if (Status status = check_last_logits(rows - 1); !status.ok()) return status;
    }
    sequence_->logits_row = rows - 1;
  }
  return Done{};
}

Status Session::check_last_logits(int64_t row) const {
  const auto logits = device_->logits(row, 1);
  if (!logits.ok()) return logits.error();
  return check_logits(*logits, model_->plan().vocab_size, position() - 1);
}

Status Session::decode(int32_t token) {
  const std::span<const int32_t> one(&token, 1);
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check_tokens(one); !status.ok()) return status;
  if (Status status = take_failure(); !status.ok()) return status;
  const size_t schedule = *model_->device_plan().schedule_for(Schedule::Entry::main, 1);
  if (Status status = device_->step(schedule, one, position(), 1); !status.ok()) return status;
  ++sequence_->position;
  sequence_->logits_row = -1;
  if (device_->logits_at_hand())
    if (Status status = check_last_logits(0); !status.ok()) return status;
  sequence_->logits_row = 0;
  return Done{};
}

Status Session::generate(const SamplingOptions& options, int64_t count, const TokenSink& sink) {
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check(options); !status.ok()) return status;
  if (sequence_->logits_row < 0) return Error{"there are no logits yet: prefill first"};
  if (count < 1) return Error{fmt::format("{} tokens were asked for, expected 1 or more", count)};
  if (Status status = check_room(static_cast<uint64_t>(count) - 1); !status.ok()) return status;
  if (Status status = take_failure(); !status.ok()) return status;
  return device_->generate(*sequence_, options, count, sink);
}

Result<std::span<const float>> Session::read_logits() const {
  if (sequence_->logits_row < 0) return Error{"there are no logits yet: prefill first"};
  if (Status status = model_->check_process(); !status.ok()) return status.error();
  const auto logits = device_->logits(sequence_->logits_row, 1);
  if (!logits.ok() || device_->logits_at_hand()) return logits;
  if (Status status = check_logits(*logits, model_->plan().vocab_size, position() - 1);
      !status.ok())
    return status.error();
  return logits;
}

std::span<const float> Session::logits() const {
  if (sequence_->logits_row < 0) return {};
  const auto logits = read_logits();
  if (logits.ok()) return *logits;
  failure_ = logits.error();
  return {};
}

int64_t Session::position() const { return sequence_->position; }
int64_t Session::context() const { return context_; }
Executor Session::executor() const { return device_->executor(); }

void Session::reset() {
  *sequence_ = {};
  failure_.reset();
  if (Status status = model_->check_process(); !status.ok()) return;  // the next step says so
  if (Status status = device_->clear(); !status.ok()) failure_ = status.error();
}

uint64_t Session::state_bytes() const { return model_->device_plan().state_bytes(context_); }
uint64_t Session::arena_bytes() const { return model_->device_plan().arena_bytes; }
uint64_t Session::device_bytes() const { return device_->bytes(); }

void Session::profile(bool on) { device_->profile(on); }
const std::vector<PhaseTime>& Session::decode_times() const { return device_->decode_times(); }

}  // namespace sinter::runtime
