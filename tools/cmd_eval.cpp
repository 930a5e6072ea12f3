// eval: how well a model predicts a text.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/files.h"
#include "tools/model_options.h"
#include "tools/report.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;
using runtime::Session;

struct EvalOptions {
  ModelOptions model;
  std::string text, ids;  // files, one of which is given
  int64_t window = 256;
  bool json = false;
};

// -log softmax(logits)[target], in double.
double negative_log_likelihood(std::span<const float> logits, int32_t target) {
  double highest = logits[0];
  for (const float logit : logits) highest = std::max(highest, static_cast<double>(logit));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return std::log(sum) + highest - static_cast<double>(logits[static_cast<size_t>(target)]);
}

// Sums over the windows of a text.
struct Totals {
  double nll = 0;
  int64_t drafts = 0, accepted = 0;  // of the head, where it runs
};

std::span<const float> row_of(std::span<const float> logits, size_t row, size_t vocab) {
  return logits.subspan(row * vocab, vocab);
}

int64_t best_of(std::span<const float> logits) {
  return std::ranges::max_element(logits) - logits.begin();
}

// The tokens `after` are those behind each of the inputs.
runtime::Status read_window(Session& session, size_t vocab, std::span<const int32_t> inputs,
                            std::span<const int32_t> after, Totals& totals) {
  size_t at = 0;
  const auto sink = [&](std::span<const float> logits, int64_t rows) {
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
      totals.nll += negative_log_likelihood(row_of(logits, r, vocab), after[at++]);
  };
  return session.prefill(inputs, static_cast<int64_t>(inputs.size()), sink);
}

// The same, and the head drafts a token behind each of `after`. It is accepted where the model,
// once it has read that, finds the same one the likeliest.
runtime::Status read_window_and_draft(Session& session, const runtime::DevicePlan& plan,
                                      size_t vocab, std::span<const int32_t> inputs,
                                      std::span<const int32_t> after, Totals& totals) {
  const auto most = static_cast<size_t>(std::min(plan.chunk, plan.logits_rows));
  int64_t last_draft = -1;  // behind the last token of the step before
  for (size_t done = 0; done < inputs.size();) {
    const size_t size = std::min(most, inputs.size() - done);
    const auto rows = static_cast<int64_t>(size);
    const Session::Part part{0, inputs.subspan(done, size), rows};
    if (auto status = session.step({&part, 1}); !status.ok()) return status;
    const auto logits = session.read_logits(0, rows);
    if (!logits.ok()) return logits.error();
    std::vector<int64_t> best;
    for (size_t r = 0; r < size; ++r) {
      totals.nll += negative_log_likelihood(row_of(*logits, r, vocab), after[done + r]);
      best.push_back(best_of(row_of(*logits, r, vocab)));
    }
    const Session::DraftPart draft{0, static_cast<int64_t>(done), after.subspan(done, size), rows};
    if (auto status = session.draft({&draft, 1}); !status.ok()) return status;
    const auto drafted = session.read_draft_logits(0, rows);
    if (!drafted.ok()) return drafted.error();
    for (size_t r = 0; r < size; ++r) {
      if (last_draft >= 0) {
        ++totals.drafts;
        totals.accepted += last_draft == best[r] ? 1 : 0;
      }
      last_draft = best_of(row_of(*drafted, r, vocab));
    }
    done += size;
  }
  return runtime::Done{};
}

Result<int> eval(const Program& program, EvalOptions options) {
  options.model.context = options.window;
  if (options.text.empty() && options.ids.empty())
    return Error{"eval needs what the model is to predict; give --text FILE or --ids FILE"};
  const bool by_ids = options.text.empty();
  const std::string& source = by_ids ? options.ids : options.text;
  std::string text;
  Result<std::vector<int32_t>> ids = std::vector<int32_t>();
  if (by_ids) {
    ids = read_token_ids(source);
    if (!ids.ok()) return ids.error();
  } else {
    auto found = read_file(source);
    if (!found.ok()) return found.error();
    text = *std::move(found);
  }
  auto model = load_model(program, options.model);
  if (!model.ok()) return model.error();
  const runtime::Plan& plan = (*model)->plan();
  const int64_t window = options.window;
  if (window > plan.max_context)
    return Error{
        fmt::format("--window {} is longer than the context of {}", window, plan.max_context)};
  if (!by_ids) {
    const auto tokenizer = tokenizer_of(program, options.model.path, (*model)->file());
    if (!tokenizer.ok()) return tokenizer.error();
    ids = tokenizer->encode(text, false);
    if (!ids.ok()) return ids.error();
  }
  if (auto status = check_token_ids(*ids, plan.vocab_size, source); !status.ok())
    return status.error();
  // Every input needs the token after it.
  const int64_t windows = (static_cast<int64_t>(ids->size()) - 1) / window;
  if (ids->empty() || windows < 1)
    return Error{
        fmt::format("{}: has {} tokens, fewer than one window of {} and the token after it", source,
                    ids->size(), window)};
  auto session = Session::create(*model, window);
  if (!session.ok()) return session.error();
  announce(**model);

  Progress progress;
  Totals totals;
  const auto start = std::chrono::steady_clock::now();
  const auto vocab = static_cast<size_t>(plan.vocab_size);
  for (int64_t w = 0; w < windows; ++w) {
    throw_if_interrupted();
    const auto first = static_cast<size_t>(w * window);
    const std::span<const int32_t> inputs(ids->data() + first, static_cast<size_t>(window));
    const std::span<const int32_t> after(ids->data() + first + 1, inputs.size());
    (*session)->reset();
    const auto status = options.model.mtp.wanted
                            ? read_window_and_draft(**session, (*model)->device_plan(), vocab,
                                                    inputs, after, totals)
                            : read_window(**session, vocab, inputs, after, totals);
    if (!status.ok()) return status.error();
    progress.update("evaluating", static_cast<double>(w + 1) / static_cast<double>(windows));
  }
  progress.clear();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const int64_t tokens = windows * window;
  const double nll = totals.nll / static_cast<double>(tokens);
  const double accepted = static_cast<double>(totals.accepted) /
                          static_cast<double>(std::max<int64_t>(totals.drafts, 1));
  if (options.json) {
    nlohmann::ordered_json json = {{"nll", nll},        {"perplexity", std::exp(nll)},
                                   {"tokens", tokens},  {"windows", windows},
                                   {"window", window},  {"activations", plan.activations},
                                   {"seconds", seconds}};
    if (options.model.mtp.wanted) json["drafts"] = totals.drafts;
    if (options.model.mtp.wanted) json["accepted"] = accepted;
    write_output(json.dump(2) + "\n");
    return 0;
  }
  output("nll per token  {:.6f}\nperplexity     {:.4f}\n", nll, std::exp(nll));
  output("tokens         {} in {} windows of {}\n", tokens, windows, window);
  if (options.model.mtp.wanted)
    output("drafts         {} of {} accepted, {:.1f} %\n", totals.accepted, totals.drafts,
           100 * accepted);
  output("activations    {}\n", plan.activations);
  output("time           {:.2f} s, {:.1f} tokens/s\n", seconds,
         static_cast<double>(tokens) / seconds);
  return 0;
}

}  // namespace

void add_eval(CommandLine& line) {
  auto options = std::make_shared<EvalOptions>();
  options->model.cached = true;
  const Program& program = line.program();
  CLI::App& app = line.add(
      "eval",
      "Measure how well a model predicts a text: the mean negative log likelihood per token. The "
      "text is tokenized as a whole and cut into windows that do not overlap; each starts with an "
      "empty context, and a last window that is not full does not count.",
      program.name + " eval model.plan --text validation.txt --window 256",
      [&program, options] { return eval(program, *options); });
  add_model_argument(app, program, options->model);
  CLI::Option* text =
      app.add_option("--text", options->text, "A UTF-8 text file; - is stdin")->type_name("FILE");
  app.add_option("--ids", options->ids,
                 "The text as a file of token ids, separated by white space; - is stdin. Needs no "
                 "tokenizer")
      ->type_name("FILE")
      ->excludes(text);
  add_mtp_options(
      app, options->model.mtp,
      "Let the multi-token-prediction head draft a token behind every token of the text, "
      "and count the drafts that are what the model itself finds likeliest there; a plan "
      "must have been compiled with --mtp");
  app.add_option("--window", options->window, "Tokens of a window")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print the results as JSON");
  add_execution_options(app, options->model);
}

}  // namespace sinter::tools
