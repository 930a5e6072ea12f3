#include "tools/reference.h"

#include <fmt/format.h>

#include "ir/interpreter.h"
#include "ir/state_format.h"
#include "passes/pipeline.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;

Result<ir::Module> module_after_pass(const ModelInput& input, std::string_view pass) {
  if (passes::find_pass(pass) == nullptr) {
    std::string known;
    for (const passes::Pass& p : passes::pipeline())
      known += fmt::format("{}{}", known.empty() ? "" : ", ", p.name);
    return Error{fmt::format("\"{}\" is not a pass; the passes are {}", pass, known)};
  }
  passes::PassContext context;
  context.source = input.checkpoint.get();
  ir::Module found;
  const auto last = passes::run_pipeline(input.model.module, context,
                                         [&](const passes::Pass& after, const ir::Module& module) {
                                           if (after.name == pass) found = module;
                                         });
  if (!last.ok()) return to_error(last.status());
  return found;
}

Result<Logits> reference_logits(const ReferenceRequest& request) {
  auto input = open_model(request.model, request.quantize, request.arch_from);
  if (!input.ok()) return input.error();
  ir::set_state_format(input->model.module, kv_format_of(request.kv_format));
  Logits logits;
  logits.vocab_size = input->model.vocab_size;
  if (auto status = check_token_ids(request.tokens, logits.vocab_size, request.tokens_name);
      !status.ok())
    return status.error();
  ir::Module module = std::move(input->model.module);
  if (!request.after_pass.empty()) {
    input->model.module = std::move(module);
    auto after = module_after_pass(*input, request.after_pass);
    if (!after.ok()) return after.error();
    module = std::move(*after);
  }

  Progress progress;
  ir::InterpreterState state;
  const size_t step = request.token_by_token ? 1 : request.tokens.size();
  for (size_t done = 0; done < request.tokens.size(); done += step) {
    throw_if_interrupted();
    progress.update("interpreting",
                    static_cast<double>(done) / static_cast<double>(request.tokens.size()));
    ir::StepInput step_input;
    const auto begin = request.tokens.begin() + static_cast<std::ptrdiff_t>(done);
    step_input.tokens.assign(begin, begin + static_cast<std::ptrdiff_t>(step));
    step_input.logits_rows = static_cast<int64_t>(step);
    const auto rows = ir::interpret(module, *input->checkpoint, step_input, state);
    if (!rows.ok()) return to_error(rows.status());
    logits.rows.insert(logits.rows.end(), rows->data.begin(), rows->data.end());
  }
  return logits;
}

}  // namespace sinter::tools
