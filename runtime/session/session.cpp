#include "runtime/session/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/session/device.h"

namespace sinter::runtime {
namespace {

constexpr int64_t most_sequences = 1024;

}  // namespace

Session::Session() = default;
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Model> model,
                                                 const SessionOptions& options) {
  if (Status status = model->check_process(); !status.ok()) return status.error();
  const int64_t most = model->plan().max_context;
  if (options.context < 0 || options.context > most) {
    return Error{
        fmt::format("a context of {} is outside 1..{}, which the plan was compiled for; compile it "
                    "with a larger --max-context",
                    options.context, most)};
  }
  if (options.sequences < 1 || options.sequences > most_sequences)
    return Error{fmt::format("{} sequences are outside 1..{}", options.sequences, most_sequences)};
  const int64_t context = options.context != 0 ? options.context : most;
  SessionSize size{.context = context,
                   .sequences = options.sequences,
                   .pages_per_sequence = (context + page_positions - 1) / page_positions};
  const int64_t all_pages = size.pages_per_sequence * options.sequences;
  if (options.positions < 0 || options.positions > all_pages * page_positions)
    return Error{fmt::format("room for {} positions is outside 1..{}, which {} sequences can have",
                             options.positions, all_pages * page_positions, options.sequences)};
  size.pages = options.positions != 0 ? (options.positions + page_positions - 1) / page_positions
                                      : all_pages;
  std::unique_ptr<Session> session(new Session());
  session->model_ = std::move(model);
  session->context_ = context;
  auto device = session->model_->on_device().create_session(size, options.executor);
  if (!device.ok()) return device.error();
  session->device_ = std::move(*device);
  session->pool_ = std::make_unique<Pool>(size.sequences, size.pages_per_sequence, size.pages);
  session->sequences_.resize(static_cast<size_t>(size.sequences));
  session->has_fixed_state_ =
      std::ranges::any_of(session->model_->device_plan().states,
                          [](const PlanState& s) { return s.kind != PlanState::Kind::paged; });
  if (const Result<int> first = session->pool_->add(); !first.ok()) return first.error();
  return session;
}

// ---- Sequences

Status Session::check_sequence(int sequence) const {
  if (!pool_->has(sequence))
    return Error{fmt::format("there is no sequence {}: it was never added, or removed", sequence)};
  if (at(sequence).is_snapshot)
    return Error{fmt::format("{} is a snapshot; restore it into a sequence", sequence)};
  return Done{};
}

Result<int> Session::add() {
  if (Status status = model_->check_process(); !status.ok()) return status.error();
  const Result<int> added = pool_->add();
  if (!added.ok()) return added;
  at(*added) = {};
  if (has_fixed_state_)
    if (Status status = device_->clear_fixed(*added); !status.ok()) return status.error();
  return added;
}

// A copy that shares all pages.
Result<int> Session::duplicate(int sequence) {
  if (Status status = model_->check_process(); !status.ok()) return status.error();
  if (Status status = check_sequence(sequence); !status.ok()) return status.error();
  const Result<int> copy = pool_->fork(sequence, at(sequence).position);
  if (!copy.ok()) return copy;
  at(*copy) = at(sequence);
  Sequence& made = at(*copy);
  made.hidden.lose_shared();
  made.drafted = std::min(made.drafted, made.position);
  made.draft_logits_row = -1;
  Status copied = Done{};
  if (made.hidden.own >= 0) copied = device_->copy_hidden(sequence, *copy);
  if (copied.ok() && has_fixed_state_) copied = device_->copy_fixed(sequence, *copy);
  if (copied.ok() && at(sequence).logits_row >= 0) {
    copied = device_->copy_logits(at(sequence).logits_row, *copy);
    at(*copy).logits_row = *copy;
    at(*copy).logits_rows = 1;
  }
  if (copied.ok()) return copy;
  pool_->remove(*copy);
  return copied.error();
}

Result<int> Session::fork(int sequence) { return duplicate(sequence); }

Result<int> Session::snapshot(int sequence) {
  const Result<int> copy = duplicate(sequence);
  if (copy.ok()) at(*copy).is_snapshot = true;
  return copy;
}

Status Session::restore(int sequence, int snapshot) {
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check_sequence(sequence); !status.ok()) return status;
  if (!pool_->has(snapshot) || !at(snapshot).is_snapshot)
    return Error{fmt::format("{} is no snapshot of this session", snapshot)};
  pool_->replace(sequence, snapshot);
  at(sequence) = at(snapshot);
  at(sequence).is_snapshot = false;
  if (has_fixed_state_)
    if (Status status = device_->copy_fixed(snapshot, sequence); !status.ok()) return status;
  if (at(snapshot).hidden.own >= 0)
    if (Status status = device_->copy_hidden(snapshot, sequence); !status.ok()) return status;
  if (at(snapshot).logits_row < 0) return Done{};
  at(sequence).logits_row = sequence;
  return device_->copy_logits(at(snapshot).logits_row, sequence);
}

Status Session::truncate(int sequence, int64_t position) {
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check_sequence(sequence); !status.ok()) return status;
  Sequence& s = at(sequence);
  if (position < 0 || position > s.position)
    return Error{fmt::format("sequence {} has {} tokens and cannot be cut to {}", sequence,
                             s.position, position)};
  if (position == s.position) return Done{};
  if (const int64_t least = least_kept(model_->device_plan().states, s.written);
      position != 0 && position < least)
    return Error{fmt::format(
        "sequence {} cannot be cut to {} tokens: {}; take a snapshot before tokens that may be "
        "taken back",
        sequence, position,
        least >= s.position
            ? std::string("the model keeps state that has no positions")
            : fmt::format("of what is seen behind fewer than {} some is forgotten", least))};
  pool_->truncate(sequence, position);
  s.position = position;
  s.logits_row = -1;
  s.logits_rows = 0;
  s.hidden.cut(position);
  s.drafted = std::min(s.drafted, position);
  s.draft_logits_row = -1;
  if (position != 0) return Done{};
  s.written = 0;
  return has_fixed_state_ ? device_->clear_fixed(sequence) : Status(Done{});
}

Status Session::remove(int sequence) {
  if (!pool_->has(sequence))
    return Error{fmt::format("there is no sequence {}: it was never added, or removed", sequence)};
  pool_->remove(sequence);
  at(sequence) = {};
  return Done{};
}

bool Session::is_snapshot(int sequence) const {
  return pool_->has(sequence) && at(sequence).is_snapshot;
}

void Session::reset(int sequence) {
  failure_.reset();
  if (!pool_->has(sequence)) return;
  pool_->truncate(sequence, 0);
  at(sequence) = {};
  if (!has_fixed_state_) return;
  Status status = model_->check_process();
  if (status.ok()) status = device_->clear_fixed(sequence);
  if (!status.ok()) failure_ = status.error();  // the next step says so
}

int64_t Session::sequences() const { return pool_->sequences(); }
int64_t Session::free_pages() const { return pool_->free_pages(); }

// ---- Steps

Status Session::take_failure() {
  if (!failure_) return Done{};
  const Error error = *std::exchange(failure_, std::nullopt);
  return error;
}

Status Session::check_room(int sequence, uint64_t tokens) const {
  if (tokens <= static_cast<uint64_t>(context_ - position(sequence))) return Done{};
  return Error{fmt::format(
      "{} tokens do not fit: the session holds {} of {} positions; make a longer context", tokens,
      position(sequence), context_)};
}

Status Session::check_tokens(const Part& part) const {
  if (Status status = check_sequence(part.sequence); !status.ok()) return status;
  if (part.tokens.empty()) return Error{"no tokens to run"};
  if (Status status = check_room(part.sequence, part.tokens.size()); !status.ok()) return status;
  return check_in_vocabulary(part.tokens);
}

Status Session::check_in_vocabulary(std::span<const int32_t> tokens) const {
  const int64_t vocab_size = model_->plan().vocab_size;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) {
      return Error{fmt::format("token {} at index {} is outside the vocabulary of {}", tokens[i], i,
                               vocab_size)};
    }
  }
  return Done{};
}

Status Session::grow(std::span<const Growth> growths) {
  std::vector<PageCopy> copies;
  if (Status status = pool_->grow(growths, copies); !status.ok()) return status;
  for (const Growth& growth : growths)
    at(growth.sequence).written = std::max(at(growth.sequence).written, growth.end);
  // What was forked, cut or restored since the last step changed the table, too.
  if (pool_->version() == known_pages_) return Done{};
  known_pages_ = pool_->version();
  return device_->set_pages(pool_->table(), copies);
}

// Rows of logits behind those of the sequences are taken.
void Session::forget_shared_logits() {
  const int64_t first_shared = pool_->sequences();
  for (Sequence& sequence : sequences_) {
    if (sequence.logits_row >= first_shared) sequence.logits_row = -1;
    sequence.draft_logits_row = -1;
  }
}

// One step, whose parts have been checked.
Status Session::run(size_t schedule, std::span<const Part> parts) {
  std::vector<Growth> growths;
  std::vector<StepRow> rows;
  std::vector<int32_t> hidden;
  // Behind the sequences' rows of logits are those of steps that give a sequence several.
  const int64_t first_shared = pool_->sequences();
  int64_t shared = first_shared;
  int64_t shared_hidden = first_shared;  // likewise
  for (const Part& part : parts) {
    const auto count = static_cast<int64_t>(part.tokens.size());
    const int64_t position = at(part.sequence).position;
    growths.push_back({part.sequence, position, position + count});
    int64_t place = part.sequence;
    if (part.logits_rows > 1) place = std::exchange(shared, shared + part.logits_rows);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t wanted = i - (count - part.logits_rows);  // its row of logits; below 0: none
      rows.push_back({.token = part.tokens[static_cast<size_t>(i)],
                      .position = static_cast<int>(position + i),
                      .sequence = part.sequence,
                      .logits = wanted < 0 ? -1 : static_cast<int>(place + wanted)});
      hidden.push_back(static_cast<int32_t>(i + 1 == count ? part.sequence : shared_hidden++));
    }
  }
  if (Status status = grow(growths); !status.ok()) return status;
  // They take the place of those of earlier steps.
  if (shared > first_shared) forget_shared_logits();
  if (shared_hidden > first_shared)
    for (Sequence& sequence : sequences_) sequence.hidden.lose_shared();
  for (const Part& part : parts) {
    at(part.sequence).logits_row = -1;
    at(part.sequence).hidden = {};
  }
  if (Status status = device_->step(schedule, rows, hidden); !status.ok()) return status;
  const StepRow* last = rows.data();
  shared_hidden = first_shared;
  for (const Part& part : parts) {
    last += part.tokens.size();
    Sequence& sequence = at(part.sequence);
    const int64_t end = sequence.position + static_cast<int64_t>(part.tokens.size());
    // What the head made of its own states is not what it makes of the model's.
    sequence.drafted = std::min(sequence.drafted, sequence.position);
    if (model_->plan().hidden_size != 0)
      sequence.hidden.leave(sequence.position, end, shared_hidden);
    shared_hidden += static_cast<int64_t>(part.tokens.size()) - 1;
    sequence.position += static_cast<int64_t>(part.tokens.size());
    sequence.logits_row = last[-1].logits;
    sequence.logits_rows = part.logits_rows;
  }
  return Done{};
}

Status Session::step(std::span<const Part> parts) {
  const DevicePlan& plan = model_->device_plan();
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (parts.empty()) return Error{"no tokens to run"};
  int64_t rows = 0, logits = 0;
  std::vector<bool> named(sequences_.size());
  for (const Part& part : parts) {
    if (Status status = check_tokens(part); !status.ok()) return status;
    const auto count = static_cast<int64_t>(part.tokens.size());
    if (part.logits_rows < 0 || part.logits_rows > count)
      return Error{
          fmt::format("{} rows of logits were asked for, outside 0..{}", part.logits_rows, count)};
    if (named[static_cast<size_t>(part.sequence)])
      return Error{fmt::format("sequence {} is named twice", part.sequence)};
    named[static_cast<size_t>(part.sequence)] = true;
    rows += count;
    logits += part.logits_rows;
  }
  const auto schedule = plan.schedule_for(Schedule::Entry::main, rows);
  if (!schedule)
    return Error{
        fmt::format("a step of {} rows: the plan's schedules serve at most {}", rows, plan.chunk)};
  if (logits > plan.logits_rows)
    return Error{
        fmt::format("{} rows of logits were asked for, outside 0..{}", logits, plan.logits_rows)};
  if (Status status = take_failure(); !status.ok()) return status;
  std::vector<Part> all(parts.begin(), parts.end());
  if (plan.schedules[*schedule].most_rows == 1) all[0].logits_rows = 1;  // its kernels make them
  if (Status status = run(*schedule, all); !status.ok()) return status;
  if (!device_->logits_at_hand()) return Done{};
  for (const Part& part : all)
    if (part.logits_rows > 0)
      if (Status status = check_last_logits(part.sequence); !status.ok()) return status;
  return Done{};
}

Status Session::prefill(std::span<const int32_t> tokens, int64_t logits_rows,
                        const LogitsSink& sink, int sequence) {
  const DevicePlan& plan = model_->device_plan();
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check_tokens({sequence, tokens}); !status.ok()) return status;
  const int64_t count = static_cast<int64_t>(tokens.size());
  const int64_t most = sink ? count : std::min(count, plan.logits_rows);
  if (logits_rows < 1 || logits_rows > most) {
    return Error{fmt::format("{} rows of logits were asked for, outside 1..{}", logits_rows, most)};
  }
  if (Status status = take_failure(); !status.ok()) return status;
  // Room for all of them, before any is read.
  const Growth growth{sequence, position(sequence), position(sequence) + count};
  if (Status status = grow({&growth, 1}); !status.ok()) return status;
  // All chunks of a prompt, however short, are read alike.
  const size_t schedule = *plan.schedule_for(Schedule::Entry::main, plan.chunk);
  const int64_t first_wanted = count - logits_rows;
  for (int64_t done = 0; done < count;) {
    int64_t size = std::min(plan.chunk, count - done);
    // A step gives at most plan.logits_rows rows: those of its last tokens.
    if (sink) size = std::min(size, std::max<int64_t>(first_wanted - done, 0) + plan.logits_rows);
    const int64_t rows = std::clamp<int64_t>(done + size - first_wanted, 0, size);
    const Part part{sequence, tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(size)),
                    plan.chunk == 1 ? 1 : rows};
    if (Status status = run(schedule, {&part, 1}); !status.ok()) return status;
    done += size;
    if (sink && rows > 0) {
      const auto logits = read_logits(sequence, rows);
      if (!logits.ok()) return logits.error();
      sink(*logits, rows);
    } else if (done == count && device_->logits_at_hand()) {
      if (Status status = check_last_logits(sequence); !status.ok()) return status;
    }
  }
  return Done{};
}

// Logits that are not numbers are none.
Status Session::check_last_logits(int sequence) const {
  const auto logits = read_logits(sequence);
  if (logits.ok()) return Done{};
  at(sequence).logits_row = -1;
  return logits.error();
}

Status Session::decode(int32_t token, int sequence) {
  const Part part{sequence, {&token, 1}};
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (Status status = check_tokens(part); !status.ok()) return status;
  if (Status status = take_failure(); !status.ok()) return status;
  const size_t schedule = *model_->device_plan().schedule_for(Schedule::Entry::main, 1);
  if (Status status = run(schedule, {&part, 1}); !status.ok()) return status;
  return device_->logits_at_hand() ? check_last_logits(sequence) : Status(Done{});
}

Status Session::generate(const SamplingOptions& options, int64_t count, const TokenSink& sink) {
  const Draw draw{0, options, count};
  return generate({&draw, 1}, [&](size_t, int32_t token) { return sink(token); });
}

Status Session::generate(std::span<const Draw> draws, const DrawSink& sink) {
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (draws.empty()) return Error{"no sequence to draw for"};
  std::vector<Drawing> drawings;
  std::vector<bool> named(sequences_.size());
  for (const Draw& draw : draws) {
    if (Status status = check(draw.options); !status.ok()) return status;
    if (Status status = check_sequence(draw.sequence); !status.ok()) return status;
    if (at(draw.sequence).logits_row < 0) return Error{"there are no logits yet: prefill first"};
    if (draw.count < 1)
      return Error{fmt::format("{} tokens were asked for, expected 1 or more", draw.count)};
    if (Status status = check_room(draw.sequence, static_cast<uint64_t>(draw.count) - 1);
        !status.ok())
      return status;
    if (named[static_cast<size_t>(draw.sequence)])
      return Error{fmt::format("sequence {} is named twice", draw.sequence)};
    named[static_cast<size_t>(draw.sequence)] = true;
    drawings.push_back({draw.sequence, &at(draw.sequence), draw.options, draw.count});
  }
  if (const auto rows = static_cast<int64_t>(draws.size()); rows > model_->device_plan().chunk)
    return Error{fmt::format("a step of {} rows: the plan's schedules serve at most {}", rows,
                             model_->device_plan().chunk)};
  if (Status status = take_failure(); !status.ok()) return status;
  const Status generated = device_->generate(
      drawings, [this](std::span<const Growth> growths) { return grow(growths); }, sink);
  for (const Drawing& drawing : drawings) {
    Sequence& sequence = *drawing.sequence;
    // Pages that were taken ahead. Steps may have gone further than the sequence and left their
    // hidden state.
    pool_->truncate(drawing.number, sequence.position);
    sequence.hidden = {};
    sequence.drafted = std::min(sequence.drafted, sequence.position);
  }
  return generated;
}

Result<std::span<const float>> Session::read_logits(int sequence) const {
  return read_logits(sequence, 1);
}

Result<std::span<const float>> Session::read_logits(int sequence, int64_t rows) const {
  if (!pool_->has(sequence))
    return Error{fmt::format("there is no sequence {}: it was never added, or removed", sequence)};
  const Sequence& s = at(sequence);
  if (s.logits_row < 0) return Error{"there are no logits yet: prefill first"};
  if (rows < 1 || rows > s.logits_rows)
    return Error{
        fmt::format("{} rows of logits were asked for, outside 1..{}", rows, s.logits_rows)};
  if (Status status = model_->check_process(); !status.ok()) return status.error();
  const auto logits = device_->logits(s.logits_row - rows + 1, rows);
  if (!logits.ok()) return logits;
  if (Status status = check_logits(*logits, model_->plan().vocab_size, s.position - rows);
      !status.ok())
    return status.error();
  return logits;
}

std::span<const float> Session::logits() const {
  if (at(0).logits_row < 0) return {};
  const auto logits = read_logits();
  if (logits.ok()) return *logits;
  failure_ = logits.error();
  return {};
}

int64_t Session::position(int sequence) const {
  return pool_->has(sequence) ? at(sequence).position : 0;
}
int64_t Session::context() const { return context_; }
Executor Session::executor() const { return device_->executor(); }

uint64_t Session::state_bytes() const {
  return StateLayout(model_->device_plan().states).bytes(pool_->pages(), pool_->sequences());
}
uint64_t Session::arena_bytes() const { return model_->device_plan().arena_bytes; }
uint64_t Session::device_bytes() const { return device_->bytes(); }

void Session::profile(int64_t rows) {
  device_->profile(rows == 0 ? std::nullopt
                             : model_->device_plan().schedule_for(Schedule::Entry::main, rows));
}
const std::vector<PhaseTime>& Session::profiled_times() const { return device_->times(); }

}  // namespace sinter::runtime
