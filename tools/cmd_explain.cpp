// explain: why things were fused, and why not.
#include <fmt/format.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/files.h"
#include "tools/model_options.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::PlanRemark;
using runtime::Result;

struct ExplainOptions {
  ModelOptions model;
  std::string pattern;
  bool json = false;
};

Result<std::vector<PlanRemark>> remarks_of(const Program& program, const ModelOptions& options) {
  const auto kind = kind_of_input(options.path);
  if (!kind.ok()) return kind.error();
  // A model's remarks need no machine code.
  if (*kind == InputKind::model && program.explain_model)
    return program.explain_model({.model = options.path,
                                  .activations = options.activations,
                                  .kv_format = options.kv_format,
                                  .quantize = options.quantize,
                                  .arch_from = options.arch_from,
                                  .mtp = options.mtp});
  auto opened = open_plan(program, options);
  if (!opened.ok()) return opened.error();
  return opened->file->plan().remarks;
}

std::string savings(int64_t bytes, int64_t launches) {
  std::string text;
  if (bytes > 0) text = size_text(static_cast<uint64_t>(bytes));
  if (launches > 0)
    text += fmt::format("{}{} launch{} per step", text.empty() ? "" : " and ", launches,
                        launches == 1 ? "" : "es");
  return text.empty() ? "" : "saves " + text;
}

// Sums of numbers from a file: they saturate.
int64_t add_saturated(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? (a > 0 ? INT64_MAX : INT64_MIN) : sum;
}

std::string as_text(const std::vector<PlanRemark>& remarks) {
  std::vector<std::string> order;  // passes as they ran
  std::map<std::string, std::vector<const PlanRemark*>> by_pass;
  for (const PlanRemark& remark : remarks) {
    auto& list = by_pass[remark.pass];
    if (list.empty()) order.push_back(remark.pass);
    list.push_back(&remark);
  }
  std::string text;
  for (const std::string& pass : order) {
    size_t accepted = 0;
    int64_t bytes = 0, launches = 0;
    std::string lines;
    for (const PlanRemark* r : by_pass[pass]) {
      accepted += r->accepted ? 1 : 0;
      bytes = add_saturated(bytes, r->bytes_saved);
      launches = add_saturated(launches, r->launches_saved);
      const std::string saved = savings(r->bytes_saved, r->launches_saved);
      lines += fmt::format("  {} {}: {}{}\n", r->accepted ? "accepted" : "refused ",
                           printable(r->subject), printable(r->reason),
                           saved.empty() ? "" : fmt::format(" ({})", saved));
    }
    const std::string saved = savings(bytes, launches);
    text += fmt::format("{}{}: {} accepted, {} refused{}\n{}", text.empty() ? "" : "\n",
                        printable(pass), accepted, by_pass[pass].size() - accepted,
                        saved.empty() ? "" : "; " + saved, lines);
  }
  return text;
}

std::string as_json(const std::vector<PlanRemark>& remarks) {
  auto list = nlohmann::ordered_json::array();
  for (const PlanRemark& r : remarks)
    list.push_back({{"pass", r.pass},
                    {"accepted", r.accepted},
                    {"subject", r.subject},
                    {"reason", r.reason},
                    {"bytes_saved", r.bytes_saved},
                    {"launches_saved", r.launches_saved}});
  return list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<int> explain(const Program& program, const ExplainOptions& options) {
  auto remarks = remarks_of(program, options.model);
  if (!remarks.ok()) return remarks.error();
  std::vector<PlanRemark> chosen;
  for (PlanRemark& remark : *remarks)
    if (remark.subject.find(options.pattern) != std::string::npos)
      chosen.push_back(std::move(remark));
  if (chosen.empty() && !options.pattern.empty())
    return runtime::Error{
        fmt::format("none of the {} remarks is about \"{}\"; `explain` without a pattern shows all",
                    remarks->size(), options.pattern)};
  write_output(options.json ? as_json(chosen) : as_text(chosen));
  return 0;
}

}  // namespace

void add_explain(CommandLine& line) {
  auto options = std::make_shared<ExplainOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "explain",
      "Say why operations were fused and weights repacked, and why not: every decision of every "
      "pass, with its reason and what it saves.",
      program.name + " explain model.plan layers.0.mlp",
      [&program, options] { return explain(program, *options); });
  add_model_argument(app, program, options->model);
  app.add_option("PATTERN", options->pattern,
                 "Only what is about a node or weight with this in its name");
  app.add_flag("--json", options->json, "Print the remarks as JSON");
}

}  // namespace sinter::tools
