// verify: one way of running a plan against the others.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "runtime/session/sampler.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/logit_rows.h"
#include "tools/model_options.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Executor;
using runtime::Model;
using runtime::Plan;
using runtime::Result;
using runtime::Session;
using runtime::Status;

struct VerifyOptions {
  ModelOptions model;
  int64_t tokens = 24;
  double tolerance = 0;  // 0: by the activations
};

// Of random weights: 16-bit activations stay within 2 %, int8 ones within 5 %. Sums in another
// order make some roundings fall the other way, by a step: the more often, the smaller the step, so
// that the error grows with its root. A step of caches of 4 bits is 16 times one of int8.
double default_tolerance(const Plan& plan, const runtime::DevicePlan& device) {
  const bool coarse = std::ranges::any_of(
      device.states, [](const runtime::PlanState& state) { return state.format == "q4"; });
  return (plan.activations == "a8" ? 0.05 : 0.02) * (coarse ? 4 : 1);
}

double largest_error(const Rows& a, const Rows& b, size_t cols) {
  return std::ranges::max(row_errors(a, b, cols));
}

class Report {
 public:
  void line(bool ok, const std::string& text) {
    output("{} {}\n", ok ? "ok    " : "not ok", text);
    all_ok_ &= ok;
  }
  int code() const { return all_ok_ ? 0 : kExitCheckFailed; }

 private:
  bool all_ok_ = true;
};

bool same_bits(const Rows& a, const Rows& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Tokens as `generate` draws them, on a GPU ahead of the host; or, `by_hand`, as the host's sampler
// draws them from the logits of one step after another.
Result<std::vector<int32_t>> drawn_tokens(const std::shared_ptr<Model>& model,
                                          std::span<const int32_t> prompt, int64_t count,
                                          const runtime::SamplingOptions& options, bool by_hand) {
  auto created = Session::create(model, static_cast<int64_t>(prompt.size()) + count);
  if (!created.ok()) return created.error();
  Session& session = **created;
  if (auto status = session.prefill(prompt); !status.ok()) return status.error();
  std::vector<int32_t> drawn;
  if (!by_hand) {
    const auto sink = [&](int32_t token) {
      throw_if_interrupted();
      drawn.push_back(token);
      return true;
    };
    if (auto status = session.generate(options, count, sink); !status.ok()) return status.error();
    return drawn;
  }
  runtime::Sampler sampler(options);
  while (static_cast<int64_t>(drawn.size()) < count) {
    throw_if_interrupted();
    const auto token = sampler.sample(session.logits());
    if (!token.ok()) return token.error();
    drawn.push_back(*token);
    if (auto status = session.decode(*token); !status.ok()) return status.error();
  }
  return drawn;
}

Status verify_generation(const std::shared_ptr<Model>& model, std::span<const int32_t> prompt,
                         Report& report) {
  const int64_t room = model->plan().max_context - static_cast<int64_t>(prompt.size());
  const int64_t count = std::min<int64_t>(32, room);
  if (count < 1) return runtime::Done{};
  const runtime::SamplingOptions greedy{.greedy = true};
  const runtime::SamplingOptions free{.temperature = 0.8F, .top_k = 40, .top_p = 0.9F, .seed = 5};
  for (const auto& [options, how] :
       {std::pair(greedy, "greedy"), std::pair(free, "temperature 0.8, top-k 40, top-p 0.9")}) {
    const auto generated = drawn_tokens(model, prompt, count, options, false);
    if (!generated.ok()) return generated.error();
    const auto expected = drawn_tokens(model, prompt, count, options, true);
    if (!expected.ok()) return expected.error();
    report.line(*generated == *expected,
                fmt::format("generation of {} tokens ({}): as drawn from the logits step by step",
                            count, how));
  }
  return runtime::Done{};
}

// What sequence number `s` of several is given, and what it made of it.
struct Companion {
  std::vector<int32_t> prompt;
  runtime::SamplingOptions options;
  int64_t count = 0;  // tokens to draw
  std::vector<int32_t> drawn;
  Rows logits;  // of the last step
};

Companion companion(int64_t s, const Plan& plan) {
  Companion c;
  c.prompt = random_tokens(1 + s * 7 % 23, plan.vocab_size, static_cast<uint64_t>(s) + 11);
  c.options = {.temperature = 0.5F + 0.1F * static_cast<float>(s % 7),
               .top_k = static_cast<int>(s % 3 * 20),
               .top_p = s % 4 == 0 ? 0.9F : 1.0F,
               .seed = static_cast<uint64_t>(s),
               .greedy = s % 5 == 1};
  c.count = 6 + s % 9;
  return c;
}

// Lets sequences read their prompts, draw together, and gives what they end with.
Status run_together(const std::shared_ptr<Model>& model, std::span<Companion> all) {
  auto created = Session::create(
      model, runtime::SessionOptions{.context = std::min<int64_t>(40, model->plan().max_context),
                                     .sequences = std::ssize(all)});
  if (!created.ok()) return created.error();
  Session& session = **created;
  std::vector<Session::Draw> draws;
  for (int s = 0; s < std::ssize(all); ++s) {
    const Companion& c = all[static_cast<size_t>(s)];
    if (s > 0)
      if (const auto added = session.add(); !added.ok()) return added.error();
    if (auto status = session.prefill(c.prompt, 1, {}, s); !status.ok()) return status;
    draws.push_back({s, c.options, c.count});
  }
  const auto sink = [&](size_t draw, int32_t token) {
    throw_if_interrupted();
    all[draw].drawn.push_back(token);
    return true;
  };
  if (auto status = session.generate(draws, sink); !status.ok()) return status;
  for (int s = 0; s < std::ssize(all); ++s) {
    const auto logits = session.read_logits(s);
    if (!logits.ok()) return logits.error();
    all[static_cast<size_t>(s)].logits.assign(logits->begin(), logits->end());
  }
  return runtime::Done{};
}

// Sequences that are decoded together get the tokens and the bits that each gets alone.
Status verify_company(const std::shared_ptr<Model>& model, Report& report) {
  constexpr int64_t most = 32;
  if (model->plan().max_context < 40 || model->device_plan().chunk < 2) return runtime::Done{};
  std::vector<Companion> alone;
  std::string counts;
  bool same = true;
  for (const int64_t count : {2, 5, 8, 13, 32}) {
    if (count > std::min(most, model->device_plan().chunk)) continue;
    for (auto s = std::ssize(alone); s < count; ++s) {
      alone.push_back(companion(s, model->plan()));
      if (auto status = run_together(model, std::span(alone).last(1)); !status.ok()) return status;
    }
    std::vector<Companion> together;
    for (int64_t s = 0; s < count; ++s) together.push_back(companion(s, model->plan()));
    if (auto status = run_together(model, together); !status.ok()) return status;
    for (size_t s = 0; s < together.size(); ++s)
      same = same && together[s].drawn == alone[s].drawn &&
             same_bits(together[s].logits, alone[s].logits);
    counts += (counts.empty() ? "" : ", ") + std::to_string(count);
  }
  report.line(same, fmt::format("{} sequences decoded together: tokens and logits of each are bit "
                                "for bit what it gets alone",
                                counts));
  return runtime::Done{};
}

// Rows of one sequence in one step, as when drafted tokens are checked, get the bits that they get
// one after another.
Status verify_drafts(const std::shared_ptr<Model>& model, Report& report) {
  constexpr int64_t context = 40, prompt = 19;
  const runtime::DevicePlan& plan = model->device_plan();
  const int64_t count = std::min({int64_t{7}, plan.chunk, plan.logits_rows});
  if (count < 2 || model->plan().max_context < context) return runtime::Done{};
  const std::vector<int32_t> tokens = random_tokens(prompt + count, model->plan().vocab_size, 3);
  const std::span<const int32_t> drafted = std::span(tokens).subspan(prompt);
  auto created = Session::create(model, {.context = context, .sequences = 2});
  if (!created.ok()) return created.error();
  Session& session = **created;
  if (auto status = session.prefill(std::span(tokens).first(prompt)); !status.ok()) return status;
  const auto fork = session.fork(0);
  if (!fork.ok()) return fork.error();
  Rows alone;
  for (const int32_t token : drafted) {
    if (auto status = session.decode(token, *fork); !status.ok()) return status;
    const auto logits = session.read_logits(*fork);
    if (!logits.ok()) return logits.error();
    alone.insert(alone.end(), logits->begin(), logits->end());
  }
  const Session::Part part{0, drafted, count};
  if (auto status = session.step(std::span(&part, 1)); !status.ok()) return status;
  const auto logits = session.read_logits(0, count);
  if (!logits.ok()) return logits.error();
  report.line(same_bits(Rows(logits->begin(), logits->end()), alone),
              fmt::format("{} rows of one sequence in one step: bit for bit what each gets after "
                          "the one before it",
                          count));
  return runtime::Done{};
}

// Logits of the head behind each of the tokens but the last, in steps of so many, and of two drafts
// that continue its own states.
Result<Rows> head_rows(const std::shared_ptr<Model>& model, Executor executor,
                       std::span<const int32_t> tokens, size_t most) {
  auto created = Session::create(model, static_cast<int64_t>(tokens.size()) + 2, executor);
  if (!created.ok()) return created.error();
  Session& session = **created;
  Rows rows;
  const auto draft = [&](int64_t position, std::span<const int32_t> after) -> Status {
    const auto count = static_cast<int64_t>(after.size());
    const Session::DraftPart part{0, position, after, count};
    if (auto status = session.draft({&part, 1}); !status.ok()) return status;
    const auto logits = session.read_draft_logits(0, count);
    if (!logits.ok()) return logits.error();
    rows.insert(rows.end(), logits->begin(), logits->end());
    return runtime::Done{};
  };
  const size_t count = tokens.size() - 1;
  for (size_t done = 0; done < count; done += most) {
    throw_if_interrupted();
    const size_t size = std::min(most, count - done);
    const Session::Part part{0, tokens.subspan(done, size)};
    if (auto status = session.step({&part, 1}); !status.ok()) return status.error();
    if (auto status = draft(static_cast<int64_t>(done), tokens.subspan(done + 1, size));
        !status.ok())
      return status.error();
  }
  for (int64_t i = 0; i < 2; ++i)
    if (auto status = draft(static_cast<int64_t>(count) + i, tokens.first(1)); !status.ok())
      return status.error();
  return rows;
}

// The head, where there is one, gives drafts the bits that each has alone, however it is run.
Status verify_head(const std::shared_ptr<Model>& model, Executor executor, Report& report) {
  const runtime::DevicePlan& plan = model->device_plan();
  const Plan& whole = model->plan();
  const int64_t count = std::min({int64_t{12}, whole.max_context - 2});
  const int64_t most = std::min({int64_t{7}, plan.chunk, plan.logits_rows});
  if (whole.hidden_size == 0 || count < 2) return runtime::Done{};
  const std::vector<int32_t> tokens = random_tokens(count, whole.vocab_size, 5);
  const auto alone = head_rows(model, Executor::eager, tokens, 1);
  const auto again = head_rows(model, executor, tokens, 1);
  const auto together = head_rows(model, executor, tokens, static_cast<size_t>(most));
  for (const auto* rows : {&alone, &again, &together})
    if (!rows->ok()) return rows->error();
  report.line(same_bits(*alone, *again) && same_bits(*alone, *together),
              fmt::format("{} drafts of the multi-token-prediction head, two of them of its own "
                          "states: up to {} in one step have the bits of each alone",
                          count + 1, most));
  return runtime::Done{};
}

Result<int> verify(const Program& program, VerifyOptions options) {
  const auto kind = kind_of_input(options.model.path);
  if (!kind.ok()) return kind.error();
  options.model.context = options.tokens;
  auto model = load_model(program, options.model);  // checks every checksum of the file
  if (!model.ok()) return model.error();
  announce(**model);
  const runtime::Plan& plan = (*model)->plan();
  Report report;
  report.line(true, (*model)->device_plan().synthetic()
                        ? "checksums of all sections (weights are made from a seed)"
                        : "checksums of all sections, weights included");
  const int64_t count = std::min(options.tokens, plan.max_context);
  const auto tokens = random_tokens(count, plan.vocab_size, 7);
  const auto cols = static_cast<size_t>(plan.vocab_size);

  if (const size_t probes = (*model)->device_plan().probes.size(); probes > 0) {
    const auto probed = Session::create(*model, count, Executor::eager);
    if (!probed.ok()) return probed.error();
    report.line(true, fmt::format("probes: {} of {} dot products, one for every format of weights, "
                                  "as the compiler computed them",
                                  probes, probes));
  }

  Progress progress;
  progress.update("running", -1);
  const bool on_host = (*model)->device().id == "host";
  const Executor executor = on_host ? Executor::persistent : Executor::graph;
  const auto prefill = prefill_rows(*model, executor, tokens);
  const auto prefill_eager = prefill_rows(*model, Executor::eager, tokens);
  const auto decode = decode_rows(*model, executor, tokens);
  const auto decode_eager = decode_rows(*model, Executor::eager, tokens);
  for (const auto* rows : {&prefill, &prefill_eager, &decode, &decode_eager})
    if (!rows->ok()) return rows->error();
  progress.clear();
  report.line(same_bits(*prefill, *prefill_eager),
              fmt::format("prefill of {} tokens: {} agree bit for bit", count,
                          on_host ? "eager and persistent" : "two runs"));
  report.line(
      same_bits(*decode, *decode_eager),
      fmt::format("decode of {} tokens: eager and {} agree bit for bit", count, name(executor)));
  if (Status status = verify_generation(*model, tokens, report); !status.ok())
    return status.error();
  progress.update("running several sequences", -1);
  const Status company = verify_company(*model, report);
  const Status drafts = company.ok() ? verify_drafts(*model, report) : company;
  const Status head = drafts.ok() ? verify_head(*model, executor, report) : drafts;
  progress.clear();
  if (!head.ok()) return head.error();

  const double tolerance =
      options.tolerance > 0 ? options.tolerance : default_tolerance(plan, (*model)->device_plan());
  const double between = largest_error(*decode, *prefill, cols);
  report.line(between <= tolerance,
              fmt::format("decode against prefill: relative error {:.2e}, tolerance {:.0e}",
                          between, tolerance));
  if (*kind == InputKind::model && program.reference_logits) {
    progress.update("interpreting", -1);
    ReferenceRequest request;
    request.model = options.model.path;
    request.kv_format = options.model.kv_format;
    request.quantize = options.model.quantize;
    request.arch_from = options.model.arch_from;
    request.tokens = tokens;
    auto reference = program.reference_logits(request);
    progress.clear();
    if (!reference.ok()) return reference.error();
    for (const auto& [name, rows] :
         {std::pair("prefill", &*prefill), std::pair("decode", &*decode)}) {
      const double error = largest_error(*rows, reference->rows, cols);
      report.line(error <= tolerance,
                  fmt::format("{} against the reference: relative error {:.2e}, tolerance {:.0e}",
                              name, error, tolerance));
    }
  }
  return report.code();
}

}  // namespace

void add_verify(CommandLine& line) {
  auto options = std::make_shared<VerifyOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "verify",
      std::string(
          "Check a plan on this machine: all checksums, the dot products that the compiler "
          "stored, the eager executor against the "
          "persistent one or the graph bit for bit, generation against tokens drawn step "
          "by step, sequences decoded together against each alone, decode against prefill") +
          (program.reference_logits ? ", and a model folder also against the float32 reference "
                                      "interpreter"
                                    : "") +
          ". Exit code 1 when something does not agree.",
      program.name + " verify model.plan",
      [&program, options] { return verify(program, *options); });
  add_model_argument(app, program, options->model);
  add_mtp_options(app, options->model.mtp, "With the model's multi-token-prediction head");
  app.add_option("--tokens", options->tokens, "Random tokens to run")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option(
         "--tolerance", options->tolerance,
         "Relative error allowed where bits may differ; by default 0.02 for a16, 0.05 for a8, "
         "four times that where caches have 4 bits")
      ->check(CLI::Range(0.0, 1e9));
  add_execution_options(app, options->model);
}

}  // namespace sinter::tools
