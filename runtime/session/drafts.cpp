// Steps of the head that drafts tokens.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/session/device.h"
#include "runtime/session/session.h"

namespace sinter::runtime {

Status Session::check_draft(const DraftPart& part) const {
  if (Status status = check_sequence(part.sequence); !status.ok()) return status;
  const Sequence& s = at(part.sequence);
  const auto count = static_cast<int64_t>(part.tokens.size());
  if (count == 0) return Error{"no tokens to run"};
  if (part.position < 0 || count > context_ || part.position > context_ - count)
    return Error{fmt::format("a draft of positions {}..{} does not fit into a context of {}",
                             part.position, part.position + count - 1, context_)};
  if (part.position > s.drafted)
    return Error{
        fmt::format("sequence {}: the head has gone over {} positions and cannot go on with {}; it "
                    "must go over "
                    "all that the model reads",
                    part.sequence, s.drafted, part.position)};
  for (int64_t i = 0; i < count; ++i) {
    if (s.hidden.find(part.position + i, part.sequence)) continue;
    return Error{
        fmt::format("sequence {}: there is no hidden state of position {}: the model has read {} "
                    "positions, and "
                    "those of its last step are at hand, each for one draft",
                    part.sequence, part.position + i, s.position)};
  }
  if (part.logits_rows < 0 || part.logits_rows > count)
    return Error{
        fmt::format("{} rows of logits were asked for, outside 0..{}", part.logits_rows, count)};
  return check_in_vocabulary(part.tokens);
}

Status Session::draft(std::span<const DraftPart> parts) {
  const DevicePlan& plan = model_->device_plan();
  if (Status status = model_->check_process(); !status.ok()) return status;
  if (model_->plan().hidden_size == 0)
    return Error{
        "the plan has no multi-token-prediction head; compile a model that has one with --mtp"};
  if (parts.empty()) return Error{"no tokens to run"};
  int64_t count = 0, logits = 0;
  std::vector<bool> named(sequences_.size());
  for (const DraftPart& part : parts) {
    if (Status status = check_draft(part); !status.ok()) return status;
    if (named[static_cast<size_t>(part.sequence)])
      return Error{fmt::format("sequence {} is named twice", part.sequence)};
    named[static_cast<size_t>(part.sequence)] = true;
    count += static_cast<int64_t>(part.tokens.size());
    logits += part.logits_rows;
  }
  const auto schedule = plan.schedule_for(Schedule::Entry::mtp, count);
  if (!schedule)
    return Error{
        fmt::format("a step of {} rows: the plan's schedules serve at most {}", count, plan.chunk)};
  if (logits > plan.logits_rows)
    return Error{
        fmt::format("{} rows of logits were asked for, outside 0..{}", logits, plan.logits_rows)};
  if (Status status = take_failure(); !status.ok()) return status;

  std::vector<DraftPart> all(parts.begin(), parts.end());
  if (plan.schedules[*schedule].most_rows == 1) all[0].logits_rows = 1;  // its kernels make them
  std::vector<Growth> growths;
  std::vector<StepRow> rows;
  std::vector<int32_t> hidden;
  std::vector<int64_t> first_logits;
  int64_t place = pool_->sequences();  // the rows of sequences have the model's
  for (const DraftPart& part : all) {
    const auto size = static_cast<int64_t>(part.tokens.size());
    growths.push_back({part.sequence, part.position, part.position + size});
    first_logits.push_back(place);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t position = part.position + i;
      rows.push_back({.token = part.tokens[static_cast<size_t>(i)],
                      .position = static_cast<int>(position),
                      .sequence = part.sequence,
                      .logits = i < size - part.logits_rows ? -1 : static_cast<int>(place++)});
      hidden.push_back(
          static_cast<int32_t>(*at(part.sequence).hidden.find(position, part.sequence)));
    }
  }
  if (Status status = grow(growths); !status.ok()) return status;
  forget_shared_logits();
  if (Status status = device_->step(*schedule, rows, hidden); !status.ok()) {
    for (const DraftPart& part : all) {
      at(part.sequence).hidden = {};
      at(part.sequence).drafted = std::min(at(part.sequence).drafted, part.position);
    }
    return status;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    Sequence& s = at(all[i].sequence);
    s.drafted = all[i].position + static_cast<int64_t>(all[i].tokens.size());
    s.hidden.advance(s.drafted - 1);
    if (all[i].logits_rows == 0) continue;
    s.draft_logits_rows = all[i].logits_rows;
    s.draft_logits_row = first_logits[i] + all[i].logits_rows - 1;
  }
  return Done{};
}

Result<std::span<const float>> Session::read_draft_logits(int sequence, int64_t rows) const {
  if (!pool_->has(sequence))
    return Error{fmt::format("there is no sequence {}: it was never added, or removed", sequence)};
  const Sequence& s = at(sequence);
  if (s.draft_logits_row < 0) return Error{"there are no logits of a draft"};
  if (rows < 1 || rows > s.draft_logits_rows)
    return Error{
        fmt::format("{} rows of logits were asked for, outside 1..{}", rows, s.draft_logits_rows)};
  if (Status status = model_->check_process(); !status.ok()) return status.error();
  const auto logits = device_->logits(s.draft_logits_row - rows + 1, rows);
  if (!logits.ok()) return logits;
  if (Status status = check_logits(*logits, model_->plan().vocab_size, s.drafted - rows);
      !status.ok())
    return status.error();
  return logits;
}

int64_t Session::drafted(int sequence) const {
  return pool_->has(sequence) ? at(sequence).drafted : 0;
}

}  // namespace sinter::runtime
