// compare: a plan's logits against those that something else has computed for the same tokens.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tools/command.h"
#include "tools/logit_rows.h"
#include "tools/model_options.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Executor;
using runtime::Result;

struct CompareOptions {
  ModelOptions model;
  std::string ids;
  std::string logits;
  double tolerance = 0.02;
  double agreement = 0;
  int64_t outliers = 0;
  bool json = false;
};

// How close the logits are that one way of running the plan gives.
struct Closeness {
  std::string_view way;
  double largest = 0;    // error of a position
  int64_t beyond = 0;    // positions with more than the tolerance
  double agreement = 0;  // share of positions whose best token is that of the expected logits
  bool ok = false;
};

Closeness closeness(std::string_view way, const Rows& got, const Rows& want, size_t cols,
                    const CompareOptions& options) {
  Closeness result{.way = way};
  const std::vector<double> errors = row_errors(got, want, cols);
  result.largest = std::ranges::max(errors);
  result.beyond =
      std::ranges::count_if(errors, [&](double error) { return error > options.tolerance; });
  int64_t agreeing = 0;
  for (size_t begin = 0; begin < got.size(); begin += cols) {
    const auto best = [&](const Rows& rows) {
      const auto row = std::span(rows).subspan(begin, cols);
      return std::ranges::max_element(row) - row.begin();
    };
    agreeing += best(got) == best(want);
  }
  result.agreement = static_cast<double>(agreeing) / static_cast<double>(errors.size());
  result.ok = result.beyond <= options.outliers && result.agreement >= options.agreement;
  return result;
}

std::string line_of(const Closeness& c) {
  std::string text = fmt::format("{} {:.2e}", c.way, c.largest);
  if (c.beyond > 0) text += fmt::format(" ({} beyond)", c.beyond);
  return text;
}

Result<int> compare(const Program& program, CompareOptions options) {
  const auto ids = read_token_ids(options.ids);
  if (!ids.ok()) return ids.error();
  options.model.context = std::ssize(*ids);
  const auto model = load_model(program, options.model);
  if (!model.ok()) return model.error();
  const runtime::Plan& plan = (*model)->plan();
  if (auto status = check_token_ids(*ids, plan.vocab_size, options.ids); !status.ok())
    return status.error();
  if (std::ssize(*ids) > plan.max_context)
    return Error{fmt::format("{}: holds {} token ids, but the context holds {}", options.ids,
                             ids->size(), plan.max_context)};
  const auto want = read_expected_logits(options.logits, std::ssize(*ids), plan.vocab_size);
  if (!want.ok()) return want.error();
  announce(**model);

  // Schedules are for different numbers of rows; odd ones leave places in them empty.
  std::vector<int64_t> odd;
  for (int64_t rows = 1; rows < std::ssize(*ids); rows += 2) odd.push_back(rows);
  std::vector<Closeness> ways;
  const auto take = [&](std::string_view way, const Result<Rows>& rows) -> runtime::Status {
    if (!rows.ok()) return Error{fmt::format("{}: {}", way, rows.error().message)};
    ways.push_back(closeness(way, *rows, *want, static_cast<size_t>(plan.vocab_size), options));
    return runtime::Done{};
  };
  using enum Executor;
  if (auto s = take("prefill", prefill_rows(*model, automatic, *ids)); !s.ok()) return s.error();
  if (auto s = take("parts", prefill_rows(*model, automatic, *ids, odd)); !s.ok()) return s.error();
  if (auto s = take("decode", decode_rows(*model, automatic, *ids)); !s.ok()) return s.error();
  if (auto s = take("eager", decode_rows(*model, eager, *ids)); !s.ok()) return s.error();

  const bool ok = std::ranges::all_of(ways, &Closeness::ok);
  const double agreement = std::ranges::min(ways, {}, &Closeness::agreement).agreement;
  if (options.json) {
    auto json = nlohmann::ordered_json::object();
    for (const Closeness& c : ways)
      json[c.way] = {{"largest_error", c.largest},
                     {"beyond", c.beyond},
                     {"agreement", c.agreement},
                     {"ok", c.ok}};
    write_output(nlohmann::ordered_json({{"plan", options.model.path},
                                         {"device", (*model)->device().id},
                                         {"tokens", ids->size()},
                                         {"tolerance", options.tolerance},
                                         {"ways", json},
                                         {"ok", ok}})
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                 "\n");
  } else {
    std::string text;
    for (const Closeness& c : ways) text += fmt::format("{}, ", line_of(c));
    output("{} {}tolerance {:.2e}, best token agrees at {:.1f} %\n", ok ? "ok    " : "not ok", text,
           options.tolerance, 100 * agreement);
  }
  return ok ? 0 : kExitCheckFailed;
}

}  // namespace

void add_compare(CommandLine& line) {
  auto options = std::make_shared<CompareOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "compare",
      "Compare the logits of every position of a sequence of token ids with those that something "
      "else has computed: of all tokens read at once, in parts of 1, 3, 5, .. tokens, and one "
      "after another, each by the executor of the device and without it. The error of a position "
      "is |a - b| / |b| over the vocabulary. Exit code 1 when one is beyond the tolerance.",
      program.name + " compare model.plan --ids ids.txt --logits expected.npy --tolerance 0.02",
      [&program, options] { return compare(program, *options); });
  add_model_argument(app, program, options->model);
  app.add_option("--ids", options->ids, "File of token ids, separated by white space; - is stdin")
      ->required()
      ->type_name("FILE");
  app.add_option("--logits", options->logits,
                 "The expected logits, a NumPy file: float32, [tokens, vocabulary]")
      ->required()
      ->type_name("FILE");
  app.add_option("--tolerance", options->tolerance, "Relative error that a position may have")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--outliers", options->outliers,
                 "Positions that may be beyond the tolerance: experts that are nearly as good as "
                 "those chosen are chosen by rounding")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--agreement", options->agreement,
                 "Share of the positions whose best token must be that of the expected logits")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print the result as one line of JSON");
  add_execution_options(app, options->model);
}

}  // namespace sinter::tools
