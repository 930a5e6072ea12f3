#include "tests/fuzz/use_model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/interpreter.h"
#include "ir/text.h"
#include "ir/verifier.h"
#include "models/import.h"
#include "passes/pipeline.h"
#include "runtime/text/chat_template.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_tokenizer.h"

namespace sinter::fuzz {
namespace {

// Larger models are not interpreted: numbers in weights.
constexpr int64_t kMostInterpreted = 1 << 16;

absl::StatusOr<ir::Array> one_step(const ir::Module& module, const ir::MatrixSource& source) {
  ir::InterpreterState state;
  return ir::interpret(module, source, {{0, 1, 0}, 2}, state);
}

// Rounding differs, and what is not finite may turn up in other places once it is there.
void compare(const ir::Array& plain, const ir::Array& fused) {
  if (plain.shape != fused.shape) fail("the passes changed the shape of the logits");
  double size = 0;
  double worst = 0;
  for (size_t i = 0; i < plain.data.size(); ++i) {
    const double a = plain.data[i];
    const double b = fused.data[i];
    if (!std::isfinite(a) || !std::isfinite(b) || std::abs(a) > 1e6) return;
    size = std::max(size, std::abs(a));
    worst = std::max(worst, std::abs(a - b));
  }
  if (worst > 0.5 * size + 0.5) fail("the passes changed the logits");
}

}  // namespace

void check_status(const absl::Status& status) {
  if (!status.ok()) check_message(std::string(status.message()));
}

std::optional<ir::Module> use_graph(const ir::Module& module, const ir::MatrixSource* source) {
  if (const absl::Status status = ir::verify(module); !status.ok())
    fail("a graph that was given out does not verify", std::string(status.message()));
  passes::PassContext context;
  context.source = source;
  auto fused = passes::run_pipeline(module, context);
  check_status(fused.status());
  if (!fused.ok()) {
    const std::string message(fused.status().message());
    if (message.find("bug in sinter") != std::string::npos)
      fail("the passes broke a graph", message);
    return std::nullopt;
  }
  const std::string printed = ir::print(*fused);
  const auto again = ir::parse(printed, "printed");
  if (!again.ok() || ir::print(*again) != printed)
    fail("a graph does not come back the same", printed);
  return *std::move(fused);
}

void use_checkpoint(const std::filesystem::path& path) {
  const auto opened = frontends::open_checkpoint(path);
  check_status(opened.status());
  if (!opened.ok()) return;
  frontends::Checkpoint& checkpoint = **opened;

  std::vector<float> row;
  int64_t numbers = 0;
  for (const auto& [name, stored] : checkpoint.matrices) {
    const auto matrix = checkpoint.matrix(name);
    check_status(matrix.status());
    if (!matrix.ok()) continue;
    numbers += matrix->type.elements();
    if (matrix->type.cols() > kMostInterpreted) continue;
    row.resize(static_cast<size_t>(matrix->type.cols()));
    ir::decode_row(*matrix, 0, row.data());
    ir::decode_row(*matrix, matrix->type.rows() - 1, row.data());
  }
  check_status(checkpoint.matrix("model.layers.0.no_such_module").status());
  check_status(checkpoint.check_all_used({}));

  if (!checkpoint.tokenizer_json.empty())
    use_tokenizer(
        runtime::Tokenizer::from_json(checkpoint.tokenizer_json, checkpoint.tokenizer_config_json),
        kAnyText);
  if (!checkpoint.chat_template.empty())
    static_cast<void>(runtime::ChatTemplate::parse(checkpoint.chat_template));

  const auto model = models::import_checkpoint(checkpoint);
  check_status(model.status());
  if (!model.ok()) return;
  const auto fused = use_graph(model->module, &checkpoint);
  if (!fused || numbers > kMostInterpreted || model->vocab_size < 2) return;
  const auto plain_logits = one_step(model->module, checkpoint);
  const auto fused_logits = one_step(*fused, checkpoint);
  check_status(plain_logits.status());
  if (plain_logits.ok() != fused_logits.ok())
    fail("only one of two graphs of a model runs",
         std::string((plain_logits.ok() ? fused_logits : plain_logits).status().message()));
  if (plain_logits.ok()) compare(*plain_logits, *fused_logits);
}

}  // namespace sinter::fuzz
