// eval: how well a model predicts a text.
#include <fmt/format.h>

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
  double total = 0;
  const auto start = std::chrono::steady_clock::now();
  const auto vocab = static_cast<size_t>(plan.vocab_size);
  for (int64_t w = 0; w < windows; ++w) {
    throw_if_interrupted();
    const auto first = static_cast<size_t>(w * window);
    const std::span<const int32_t> inputs(ids->data() + first, static_cast<size_t>(window));
    size_t at = first;
    const auto sink = [&](std::span<const float> logits, int64_t rows) {
      for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
        total += negative_log_likelihood(logits.subspan(r * vocab, vocab), (*ids)[++at]);
    };
    (*session)->reset();
    if (auto status = (*session)->prefill(inputs, window, sink); !status.ok())
      return status.error();
    progress.update("evaluating", static_cast<double>(w + 1) / static_cast<double>(windows));
  }
  progress.clear();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const int64_t tokens = windows * window;
  const double nll = total / static_cast<double>(tokens);
  if (options.json) {
    write_output(nlohmann::ordered_json({{"nll", nll},
                                         {"perplexity", std::exp(nll)},
                                         {"tokens", tokens},
                                         {"windows", windows},
                                         {"window", window},
                                         {"activations", plan.activations},
                                         {"seconds", seconds}})
                     .dump(2) +
                 "\n");
    return 0;
  }
  output("nll per token  {:.6f}\nperplexity     {:.4f}\n", nll, std::exp(nll));
  output("tokens         {} in {} windows of {}\n", tokens, windows, window);
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
  app.add_option("--window", options->window, "Tokens of a window")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print the results as JSON");
  add_execution_options(app, options->model);
}

}  // namespace sinter::tools
