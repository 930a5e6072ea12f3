// bench and profile: how fast a model runs here, and where the time goes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/abi/kernel_abi.h"
#include "tools/command.h"
#include "tools/model_options.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Model;
using runtime::Plan;
using runtime::Result;
using runtime::Session;
using Clock = std::chrono::steady_clock;

struct BenchOptions {
  ModelOptions model;
  int64_t prompt = 512;
  int64_t gen = 128;
  int64_t reps = 5;
  std::vector<int64_t> sequences;
  bool json = false;
};

Result<std::unique_ptr<Session>> open_session(const std::shared_ptr<Model>& model,
                                              const ModelOptions& options, int64_t prompt,
                                              int64_t gen, int64_t sequences = 1) {
  const int64_t most = model->plan().max_context;
  if (prompt + gen > most)
    return Error{fmt::format("--prompt {} and --gen {} need {} positions, but the context holds {}",
                             prompt, gen, prompt + gen, most)};
  return Session::create(model, runtime::SessionOptions{.context = prompt + gen,
                                                        .sequences = sequences,
                                                        .executor = executor_of(options)});
}

// Sequences that read a prompt each, so that they can be decoded together any number of times.
class Sequences {
 public:
  // Error: among others, too little memory for so many.
  static Result<Sequences> read(const std::shared_ptr<Model>& model, const BenchOptions& options) {
    Sequences all;
    const int64_t most = std::ranges::max(options.sequences);
    const auto needed = options.prompt + options.gen;
    if (needed > model->plan().max_context) return too_long(model->plan(), options);
    // Each has a snapshot, which shares all pages but the one that is appended to.
    const int64_t pages = (needed + page_positions - 1) / page_positions + 1;
    auto session =
        Session::create(model, runtime::SessionOptions{.context = needed,
                                                       .sequences = 2 * most,
                                                       .positions = most * pages * page_positions,
                                                       .executor = executor_of(options.model)});
    if (!session.ok()) return session.error();
    all.session_ = std::move(*session);
    Progress progress;
    for (int64_t s = 0; s < most; ++s) {
      throw_if_interrupted();
      progress.update("reading prompts", static_cast<double>(s) / static_cast<double>(most));
      if (s > 0)
        if (const auto added = all.session_->add(); !added.ok()) return added.error();
      const auto prompt =
          random_tokens(options.prompt, model->plan().vocab_size, static_cast<uint64_t>(s) + 1);
      all.last_.push_back(prompt.back());
      const std::span before(prompt.begin(), prompt.end() - 1);
      if (!before.empty())
        if (auto status = all.session_->prefill(before, 1, {}, static_cast<int>(s)); !status.ok())
          return status.error();
    }
    for (int64_t s = 0; s < most; ++s) {
      const auto kept = all.session_->snapshot(static_cast<int>(s));
      if (!kept.ok()) return kept.error();
      all.kept_.push_back(*kept);
    }
    return all;
  }

  // Tokens per second that the first `count` sequences make together, decoding `gen` each.
  Result<double> decode(int64_t count, int64_t gen) {
    std::vector<Session::Part> parts;
    std::vector<Session::Draw> draws;
    for (int s = 0; s < count; ++s) {
      const int kept = kept_[static_cast<size_t>(s)];
      if (auto status = session_->restore(s, kept); !status.ok()) return status.error();
      parts.push_back({s, std::span(&last_[static_cast<size_t>(s)], 1), 1});
      draws.push_back({s, {.greedy = true}, gen + 1});
    }
    if (auto status = session_->step(parts); !status.ok()) return status.error();
    auto start = Clock::now();
    int64_t seen = 0;
    const auto sink = [&](size_t, int32_t) {
      throw_if_interrupted();
      if (++seen == count) start = Clock::now();
      return true;
    };
    if (auto status = session_->generate(draws, sink); !status.ok()) return status.error();
    return static_cast<double>(count * gen) / seconds_since(start);
  }

  const Session& session() const { return *session_; }

 private:
  static Error too_long(const Plan& plan, const BenchOptions& options) {
    return Error{fmt::format("--prompt {} and --gen {} need {} positions, but the context holds {}",
                             options.prompt, options.gen, options.prompt + options.gen,
                             plan.max_context)};
  }

  std::unique_ptr<Session> session_;
  std::vector<int32_t> last_;  // token of each prompt
  std::vector<int> kept_;      // snapshots of what is before it
};

// How many tokens several sequences make together.
Result<int> bench_sequences(const std::shared_ptr<Model>& model, const BenchOptions& options) {
  auto all = Sequences::read(model, options);
  if (!all.ok()) return all.error();
  Progress progress;
  std::vector<std::vector<double>> rates(options.sequences.size());
  // Rounds over all numbers, so that what slows the machine down slows all of them.
  for (int64_t rep = -1; rep < options.reps; ++rep) {
    progress.update("measuring",
                    static_cast<double>(rep + 1) / static_cast<double>(options.reps + 1));
    for (size_t i = 0; i < rates.size(); ++i) {
      const auto rate = all->decode(options.sequences[i], options.gen);
      if (!rate.ok()) return rate.error();
      if (rep >= 0) rates[i].push_back(*rate);
    }
  }
  progress.clear();
  const Plan& plan = model->plan();
  auto list = nlohmann::ordered_json::array();
  if (!options.json)
    output("model          {}, {}, {}, {}, {}\n", printable(plan.model), plan.activations,
           model->code().target, workers_text(*model), name(all->session().executor()));
  const double one = spread_of(rates[0]).median / static_cast<double>(options.sequences[0]);
  for (size_t i = 0; i < rates.size(); ++i) {
    const Spread rate = spread_of(rates[i]);
    const auto schedule =
        model->device_plan().schedule_for(runtime::Schedule::Entry::main, options.sequences[i]);
    const std::string by = model->device_plan().schedules[*schedule].name;
    list.push_back(
        {{"sequences", options.sequences[i]},
         {"schedule", by},
         {"tokens_per_second", {{"median", rate.median}, {"min", rate.low}, {"max", rate.high}}}});
    if (!options.json)
      output(
          "{:>3} sequence{}  {:8.1f} tokens/s ({:.1f} to {:.1f}) together, {:.2f} times one, {}\n",
          options.sequences[i], options.sequences[i] == 1 ? " " : "s", rate.median, rate.low,
          rate.high, rate.median / one, by);
  }
  if (options.json)
    write_output(nlohmann::ordered_json({{"model", plan.model},
                                         {"activations", plan.activations},
                                         {"target", model->code().target},
                                         {"device", model->device().id},
                                         {"device_name", model->device().name},
                                         {"executor", name(all->session().executor())},
                                         {"threads", model->workers()},
                                         {"prompt", options.prompt},
                                         {"gen", options.gen},
                                         {"reps", options.reps},
                                         {"decode", list}})
                     .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
                 "\n");
  return 0;
}

Result<int> bench(const Program& program, BenchOptions options) {
  options.model.context = options.prompt + options.gen;
  auto model = load_model(program, options.model);
  if (!model.ok()) return model.error();
  const Plan& plan = (*model)->plan();
  if (!options.sequences.empty()) {
    announce(**model);
    return bench_sequences(*model, options);
  }
  auto created = open_session(*model, options.model, options.prompt, options.gen);
  if (!created.ok()) return created.error();
  announce(**model);
  Session& session = **created;
  const auto prompt = random_tokens(options.prompt, plan.vocab_size, 1);
  const runtime::SamplingOptions greedy{.greedy = true};

  Progress progress;
  std::vector<double> prefill_rates, decode_rates;
  // The first round warms caches and pages up, and is not counted.
  for (int64_t rep = -1; rep < options.reps; ++rep) {
    throw_if_interrupted();
    progress.update("measuring",
                    static_cast<double>(rep + 1) / static_cast<double>(options.reps + 1));
    session.reset();
    auto start = Clock::now();
    if (auto status = session.prefill(prompt); !status.ok()) return status.error();
    // The first token is drawn from the prompt's logits: when it is here, the prompt was read. Each
    // of the others takes a step.
    auto decode_start = start;
    bool first = true;
    const auto sink = [&](int32_t) {
      throw_if_interrupted();
      if (std::exchange(first, false)) decode_start = Clock::now();
      return true;
    };
    if (auto status = session.generate(greedy, options.gen + 1, sink); !status.ok())
      return status.error();
    const double decode_seconds = seconds_since(decode_start);
    if (rep < 0) continue;
    prefill_rates.push_back(static_cast<double>(options.prompt) /
                            std::chrono::duration<double>(decode_start - start).count());
    decode_rates.push_back(static_cast<double>(options.gen) / decode_seconds);
  }
  const uint64_t memory = memory_in_use(**model, session);  // before the measurement's own buffer
  progress.update("measuring the memory", -1);
  const auto measured = (*model)->streaming_read();
  const double streaming = measured.ok() ? *measured : 0;
  progress.clear();

  const Spread prefill = spread_of(prefill_rates), decode = spread_of(decode_rates);
  const uint64_t bytes = weight_bytes_per_token((*model)->device_plan());
  const double read = decode.median * static_cast<double>(bytes);
  const double share = streaming > 0 ? read / streaming : 0;
  if (options.json) {
    const auto spread = [](const Spread& s) {
      return nlohmann::ordered_json({{"median", s.median}, {"min", s.low}, {"max", s.high}});
    };
    write_output(nlohmann::ordered_json({{"model", plan.model},
                                         {"activations", plan.activations},
                                         {"target", (*model)->code().target},
                                         {"device", (*model)->device().id},
                                         {"device_name", (*model)->device().name},
                                         {"executor", name(session.executor())},
                                         {"threads", (*model)->workers()},
                                         {"prompt", options.prompt},
                                         {"gen", options.gen},
                                         {"reps", options.reps},
                                         {"prefill_tokens_per_second", spread(prefill)},
                                         {"decode_tokens_per_second", spread(decode)},
                                         {"weight_bytes_per_token", bytes},
                                         {"decode_gb_per_second", read * 1e-9},
                                         {"streaming_gb_per_second", streaming * 1e-9},
                                         {"share_of_streaming", share},
                                         {"state_bytes", session.state_bytes()},
                                         {"peak_memory_bytes", memory}})
                     .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
                 "\n");
    return 0;
  }
  output("model          {}, {}, {}, {}, {}\n", printable(plan.model), plan.activations,
         (*model)->code().target, workers_text(**model), name(session.executor()));
  output("prefill        {:.1f} tokens/s ({:.1f} to {:.1f}), {} tokens\n", prefill.median,
         prefill.low, prefill.high, options.prompt);
  output("decode         {:.1f} tokens/s ({:.1f} to {:.1f}), {} tokens\n", decode.median,
         decode.low, decode.high, options.gen);
  output("weights read   {:.1f} GB/s: {} per token\n", read * 1e-9, size_text(bytes));
  if (streaming > 0)
    output("streaming read {:.1f} GB/s, measured in this run; decode reaches {:.0f} % of it\n",
           streaming * 1e-9, share * 100);
  else
    output("streaming read {}\n", printable(measured.error().message));
  output("memory         {}{}, of it {} weights and {} state\n", size_text(memory),
         (*model)->device().id == "host" ? " at its peak" : " of the GPU's",
         size_text((*model)->device_plan().weight_bytes), size_text(session.state_bytes()));
  return 0;
}

struct ProfileOptions {
  ModelOptions model;
  int64_t prompt = 16;
  int64_t gen = 64;
  int64_t rows = 1;
  bool phases = false;
  bool json = false;
};

// A phase, or all that run the same kernel.
struct Row {
  std::string name;
  uint64_t calls = 0;
  double seconds = 0;
  double bytes = 0;
};

// The slowest first.
std::vector<Row> rows_of(const runtime::DevicePlan& plan, const Session& session, int64_t in_step,
                         bool by_phase) {
  std::map<size_t, Row> rows;
  const auto& phases = plan.phases_for(runtime::Schedule::Entry::main, in_step);
  for (size_t i = 0; i < phases.size(); ++i) {
    const runtime::Phase& phase = phases[i];
    const runtime::PhaseTime& time = session.profiled_times()[i];
    Row& row = rows[by_phase ? i : phase.kernel];
    row.name = by_phase ? phase.name : plan.kernels[phase.kernel].symbol;
    row.calls += time.calls;
    row.seconds += time.seconds;
    row.bytes += static_cast<double>(phase.weight_bytes) * static_cast<double>(time.calls);
  }
  std::vector<Row> sorted;
  for (auto& [index, row] : rows) sorted.push_back(std::move(row));
  std::sort(sorted.begin(), sorted.end(),
            [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  return sorted;
}

Result<int> profile(const Program& program, ProfileOptions options) {
  options.model.context = options.prompt + options.gen;
  auto model = load_model(program, options.model);
  if (!model.ok()) return model.error();
  const runtime::DevicePlan& plan = (*model)->device_plan();
  if (options.rows > plan.chunk)
    return Error{
        fmt::format("--rows {}: the plan's schedules serve at most {}", options.rows, plan.chunk)};
  auto created = open_session(*model, options.model, options.prompt, options.gen, options.rows);
  if (!created.ok()) return created.error();
  announce(**model);
  Session& session = **created;
  const auto tokens = random_tokens(options.prompt + options.gen, (*model)->plan().vocab_size, 1);
  const auto prompt = std::span(tokens).first(static_cast<size_t>(options.prompt));
  for (int s = 0; s < options.rows; ++s) {
    if (s > 0)
      if (const auto added = session.add(); !added.ok()) return added.error();
    if (auto status = session.prefill(prompt, 1, {}, s); !status.ok()) return status.error();
  }
  session.profile(options.rows);
  for (const int32_t token : std::span(tokens).subspan(prompt.size())) {
    throw_if_interrupted();
    std::vector<Session::Part> parts;
    for (int s = 0; s < options.rows; ++s) parts.push_back({s, {&token, 1}, 1});
    if (auto status = session.step(parts); !status.ok()) return status.error();
  }
  const auto measured = (*model)->streaming_read();
  const double streaming = measured.ok() ? *measured : 0;
  const std::vector<Row> rows = rows_of(plan, session, options.rows, options.phases);
  double total = 0;
  for (const Row& row : rows) total += row.seconds;
  const auto rate = [](const Row& row) { return row.seconds > 0 ? row.bytes / row.seconds : 0; };
  const auto share = [](double part, double whole) { return whole > 0 ? part / whole : 0; };

  if (options.json) {
    auto list = nlohmann::ordered_json::array();
    for (const Row& row : rows)
      list.push_back({{options.phases ? "phase" : "kernel", row.name},
                      {"calls", row.calls},
                      {"seconds", row.seconds},
                      {"weight_bytes", row.bytes},
                      {"share_of_streaming", share(rate(row), streaming)},
                      {"share", share(row.seconds, total)}});
    write_output(list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return 0;
  }
  output("{} {}steps of {} phases, {:.1f} us in the phases of a step, {}\n", options.gen,
         options.rows == 1 ? std::string("decode ") : fmt::format("{}-row ", options.rows),
         session.profiled_times().size(), total / static_cast<double>(options.gen) * 1e6,
         workers_text(**model));
  if (streaming > 0)
    output("streaming read {:.1f} GB/s, measured in this run: the roof\n\n", streaming * 1e-9);
  else
    output("streaming read {}\n\n", printable(measured.error().message));
  output("{:<40} {:>8} {:>10} {:>10} {:>8} {:>7} {:>7}\n", options.phases ? "phase" : "kernel",
         "calls", "us/call", "bytes/call", "GB/s", "of roof", "time");
  for (const Row& row : rows) {
    const auto calls = static_cast<double>(std::max<uint64_t>(row.calls, 1));
    output("{:<40} {:>8} {:>10.2f} {:>10} {:>8.1f} {:>5.1f} % {:>5.1f} %\n", printable(row.name),
           row.calls, row.seconds / calls * 1e6,
           size_text(static_cast<uint64_t>(row.bytes / calls)), rate(row) * 1e-9,
           share(rate(row), streaming) * 100, share(row.seconds, total) * 100);
  }
  return 0;
}

void add_lengths(CLI::App& app, int64_t& prompt, int64_t& gen) {
  const auto range = CLI::Range(int64_t{1}, int64_t{1} << 30);
  app.add_option("--prompt", prompt, "Tokens of the prompt")->check(range)->capture_default_str();
  app.add_option("--gen", gen, "Tokens decoded after it")->check(range)->capture_default_str();
}

}  // namespace

void add_bench(CommandLine& line) {
  auto options = std::make_shared<BenchOptions>();
  options->model.cached = true;
  const Program& program = line.program();
  CLI::App& app =
      line.add("bench",
               "Measure prefill speed with random token ids and decode speed with greedy tokens: "
               "median, lowest and highest of the "
               "repetitions, and the weights read per second beside what the memory can deliver.",
               program.name + " bench model.plan --prompt 512 --gen 128",
               [&program, options] { return bench(program, *options); });
  add_model_argument(app, program, options->model);
  add_lengths(app, options->prompt, options->gen);
  app.add_option("--reps", options->reps, "Repetitions, after one that warms up")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  app.add_option("--sequences", options->sequences,
                 "Measure what so many sequences, each with a prompt of its own, decode together")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{512}))
      ->type_name("N,N,..");
  app.add_flag("--json", options->json, "Print the results as JSON");
  add_execution_options(app, options->model);
  add_executor_option(app, options->model);
}

void add_profile(CommandLine& line) {
  auto options = std::make_shared<ProfileOptions>();
  options->model.cached = true;
  const Program& program = line.program();
  CLI::App& app = line.add("profile",
                           "Show where the time of a decode step goes: time, bytes of weights and "
                           "GB/s of each kernel, and how much of the memory's speed that is; the "
                           "slowest first. On a GPU, phases are launched one by one for this.",
                           program.name + " profile model.plan --gen 64",
                           [&program, options] { return profile(program, *options); });
  add_model_argument(app, program, options->model);
  add_lengths(app, options->prompt, options->gen);
  app.add_option("--rows", options->rows, "Sequences that take a step together")
      ->check(CLI::Range(int64_t{1}, int64_t{512}))
      ->capture_default_str();
  app.add_flag("--phases", options->phases, "A row for each phase, not for each kernel");
  app.add_flag("--json", options->json, "Print the table as JSON");
  add_execution_options(app, options->model);
  add_executor_option(app, options->model);
}

}  // namespace sinter::tools
