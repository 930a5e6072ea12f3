#include "runtime/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "runtime/model_impl.h"

namespace sinter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// Kernels work in whole vectors and may touch a little beyond a buffer's end.
constexpr uint64_t slack = 256;

uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// A phase with its arguments resolved to addresses.
struct ResolvedPhase {
  PhaseFunction function = nullptr;
  std::vector<void*> arguments;
};

// Positions, a multiple of 16, whose state fits into `bytes`; 0 when none do.
int64_t context_that_fits(const DevicePlan& plan, int64_t max_context, uint64_t bytes) {
  int64_t low = 0, high = max_context / 16;  // in units of 16
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (plan.state_bytes(middle * 16) <= bytes) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low * 16;
}

}  // namespace

struct Session::Impl {
  Status allocate();
  std::vector<ResolvedPhase> resolve(const std::vector<Phase>& phases) const;
  void* address(const Argument& argument) const;

  Status check_tokens(std::span<const int32_t> tokens) const;
  void step(std::span<const int32_t> tokens, int64_t rows,
            const std::vector<ResolvedPhase>& schedule, bool timed);
  void run_worker(int worker);
  void run_phase(const ResolvedPhase& phase, int worker);

  const Plan& plan() const { return model->plan(); }
  const DevicePlan& device_plan() const { return model->device_plan(); }
  ThreadPool& pool() const { return *model->impl().pool; }

  std::shared_ptr<Model> model;
  Executor executor = Executor::persistent;
  int64_t context = 0;   // positions the caller asked for
  int64_t capacity = 0;  // those rounded up to a multiple of 16
  int64_t position = 0;

  Memory state;
  std::vector<uint64_t> state_offsets;  // of each state within `state`
  Memory arena, tokens, logits, scratch;
  uint64_t scratch_stride = 0;
  StepParams params{};
  std::vector<ResolvedPhase> decode, prefill;
  int64_t last_row = -1;  // of the logits of the last token; -1 before the first step

  // Of the step that runs.
  const std::vector<ResolvedPhase>* schedule = nullptr;
  bool timing = false;
  std::function<void(int)> worker_function;

  bool profiling = false;
  std::vector<PhaseTime> times;
};

Status Session::Impl::allocate() {
  const Plan& p = plan();
  const DevicePlan& d = device_plan();
  uint64_t state_total = 0;
  for (const PlanState& s : d.states) {
    state_offsets.push_back(state_total);
    state_total += round_up(
        s.bytes_per_position * static_cast<uint64_t>(capacity) + s.fixed_bytes + slack, 64);
  }
  // Workers' scratch starts at lines of their own.
  scratch_stride = round_up(d.scratch_bytes + slack, 64);
  const uint64_t scratch_total = scratch_stride * static_cast<uint64_t>(pool().workers());
  const uint64_t token_bytes = static_cast<uint64_t>(d.chunk) * 4 + slack;
  const uint64_t logit_bytes = static_cast<uint64_t>(d.logits_rows) * p.vocab_size * 4 + slack;
  const uint64_t activations = d.arena_bytes + slack + scratch_total + token_bytes + logit_bytes;
  const std::optional<uint64_t> available = available_memory();
  if (available && (activations > *available || state_total > *available - activations)) {
    const int64_t fits =
        activations < *available ? context_that_fits(d, p.max_context, *available - activations) : 0;
    return Error{
        fmt::format("a context of {} needs {} for the state and {} for activations, but {} of "
                    "memory are available; {}",
                    context, megabytes(state_total), megabytes(activations), megabytes(*available),
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
       {take(state, state_total, "the state", false),
        take(arena, d.arena_bytes + slack, "activations", true),
        take(tokens, token_bytes, "tokens", false), take(logits, logit_bytes, "logits", true),
        take(scratch, scratch_total, "scratch", true)}) {
    if (!status.ok()) return status;
  }
  return Done{};
}

void* Session::Impl::address(const Argument& argument) const {
  switch (argument.region) {
    // Kernels take all arguments as void*; what they do with weights is read them (stored ones are
    // mapped read-only).
    case Argument::Region::weights:
      return const_cast<uint8_t*>(model->impl().weights) + argument.offset;
    case Argument::Region::state:
      return state.data() + state_offsets[argument.index] + argument.offset;
    case Argument::Region::arena:
      return arena.data() + argument.offset;
    case Argument::Region::tokens:
      return tokens.data() + argument.offset;
    case Argument::Region::logits:
      return logits.data() + argument.offset;
  }
  return nullptr;
}

std::vector<ResolvedPhase> Session::Impl::resolve(const std::vector<Phase>& phases) const {
  std::vector<ResolvedPhase> resolved;
  resolved.reserve(phases.size());
  for (const Phase& phase : phases) {
    ResolvedPhase& r = resolved.emplace_back();
    r.function = model->impl().kernels->kernel(phase.kernel);
    for (const Argument& argument : phase.arguments) r.arguments.push_back(address(argument));
  }
  return resolved;
}

Status Session::Impl::check_tokens(std::span<const int32_t> ids) const {
  if (ids.empty()) return Error{"no tokens to run"};
  if (static_cast<uint64_t>(ids.size()) > static_cast<uint64_t>(context - position)) {
    return Error{fmt::format(
        "{} tokens do not fit: the session holds {} of {} positions; make a longer context",
        ids.size(), position, context)};
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= plan().vocab_size) {
      return Error{fmt::format("token {} at index {} is outside the vocabulary of {}", ids[i], i,
                               plan().vocab_size)};
    }
  }
  return Done{};
}

void Session::Impl::run_phase(const ResolvedPhase& phase, int worker) {
  const Launch launch{.args = phase.arguments.data(),
                      .step = &params,
                      .scratch = scratch.data() + scratch_stride * static_cast<uint64_t>(worker),
                      .worker = worker,
                      .workers = pool().workers()};
  phase.function(&launch);
}

// The whole schedule, as one worker of the persistent executor sees it.
void Session::Impl::run_worker(int worker) {
  const std::vector<ResolvedPhase>& phases = *schedule;
  const bool clock = timing && worker == 0;
  Clock::time_point start = clock ? Clock::now() : Clock::time_point();
  for (size_t i = 0; i < phases.size(); ++i) {
    run_phase(phases[i], worker);
    // The pool waits for all after the last phase; for its time worker 0 must see that, too.
    if (i + 1 < phases.size() || timing) pool().barrier(worker);
    if (!clock) continue;
    const Clock::time_point end = Clock::now();
    times[i].seconds += std::chrono::duration<double>(end - start).count();
    ++times[i].calls;
    start = end;
  }
}

void Session::Impl::step(std::span<const int32_t> ids, int64_t rows,
                         const std::vector<ResolvedPhase>& phases, bool timed) {
  const std::lock_guard<std::mutex> lock(model->impl().step);
  std::memcpy(tokens.data(), ids.data(), ids.size_bytes());
  params = {.position = static_cast<int>(position),
            .tokens = static_cast<int>(ids.size()),
            .logits_rows = static_cast<int>(rows),
            .capacity = static_cast<int>(capacity)};
  schedule = &phases;
  timing = timed;
  if (executor == Executor::persistent) {
    pool().run(worker_function);
  } else {
    for (size_t i = 0; i < phases.size(); ++i) {
      const Clock::time_point start = timed ? Clock::now() : Clock::time_point();
      pool().run([this, phase = &phases[i]](int worker) { run_phase(*phase, worker); });
      if (!timed) continue;
      times[i].seconds += std::chrono::duration<double>(Clock::now() - start).count();
      ++times[i].calls;
    }
  }
  position += static_cast<int64_t>(ids.size());
  last_row = rows - 1;
}

Session::Session() : impl_(std::make_unique<Impl>()) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Model> model, int64_t context,
                                                 Executor executor) {
  const int64_t most = model->plan().max_context;
  if (context < 0 || context > most) {
    return Error{
        fmt::format("a context of {} is outside 1..{}, which the plan was compiled for; compile it "
                    "with a larger "
                    "--max-context",
                    context, most)};
  }
  std::unique_ptr<Session> session(new Session());
  Impl& impl = *session->impl_;
  impl.model = std::move(model);
  impl.executor = executor;
  impl.context = context != 0 ? context : most;
  impl.capacity = static_cast<int64_t>(round_up(static_cast<uint64_t>(impl.context), 16));
  if (Status status = impl.allocate(); !status.ok()) return status.error();
  impl.decode = impl.resolve(impl.device_plan().decode);
  impl.prefill = impl.resolve(impl.device_plan().prefill);
  impl.times.resize(impl.decode.size());
  impl.worker_function = [&impl](int worker) { impl.run_worker(worker); };
  return session;
}

Status Session::prefill(std::span<const int32_t> tokens, int64_t logits_rows,
                        const LogitsSink& sink) {
  Impl& impl = *impl_;
  const DevicePlan& plan = impl.device_plan();
  if (Status status = impl.check_tokens(tokens); !status.ok()) return status;
  const int64_t count = static_cast<int64_t>(tokens.size());
  const int64_t most = sink ? count : std::min(count, plan.logits_rows);
  if (logits_rows < 1 || logits_rows > most) {
    return Error{fmt::format("{} rows of logits were asked for, outside 1..{}", logits_rows, most)};
  }
  const int64_t first_wanted = count - logits_rows;
  for (int64_t done = 0; done < count;) {
    int64_t size = std::min(plan.chunk, count - done);
    // A step gives at most plan.logits_rows rows: those of its last tokens.
    if (sink) size = std::min(size, std::max<int64_t>(first_wanted - done, 0) + plan.logits_rows);
    const int64_t wanted =
        std::min(size, done + size - first_wanted);  // <= 0 when none of the chunk's are
    const int64_t rows = std::max<int64_t>(1, wanted);
    impl.step(tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(size)), rows,
              impl.prefill, false);
    done += size;
    if (sink && wanted > 0) {
      sink({reinterpret_cast<const float*>(impl.logits.data()),
            static_cast<size_t>(rows * impl.plan().vocab_size)},
           rows);
    }
  }
  return Done{};
}

Status Session::decode(int32_t token) {
  const std::span<const int32_t> one(&token, 1);
  if (Status status = impl_->check_tokens(one); !status.ok()) return status;
  impl_->step(one, 1, impl_->decode, impl_->profiling);
  return Done{};
}

std::span<const float> Session::logits() const {
  if (impl_->last_row < 0) return {};
  const uint64_t vocab = static_cast<uint64_t>(impl_->plan().vocab_size);
  return {reinterpret_cast<const float*>(impl_->logits.data()) +
              static_cast<uint64_t>(impl_->last_row) * vocab,
          vocab};
}

int64_t Session::position() const { return impl_->position; }
int64_t Session::context() const { return impl_->context; }

void Session::reset() {
  impl_->position = 0;
  impl_->last_row = -1;
  impl_->state.clear();
}

uint64_t Session::state_bytes() const { return impl_->device_plan().state_bytes(impl_->capacity); }
uint64_t Session::arena_bytes() const { return impl_->device_plan().arena_bytes; }

void Session::profile(bool on) { impl_->profiling = on; }
const std::vector<PhaseTime>& Session::decode_times() const { return impl_->times; }

}  // namespace sinter::runtime
