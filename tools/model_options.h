// The MODEL|PLAN argument that most commands take, and what goes with it.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/result.h"
#include "runtime/session.h"
#include "runtime/tokenizer.h"
#include "tools/program.h"

namespace sinter::tools {

struct ModelOptions {
  std::string path;
  std::string activations;  // empty: the plan's, or a8 for a model
  std::string device = "host";
  int threads = 0;
  int64_t max_context = 0;  // for compiling a model; 0: what the model says
  bool cached = false;      // keep the compiled plan for next time
};

void add_model_argument(CLI::App& app, const Program& program, ModelOptions& options);
void add_execution_options(CLI::App& app, ModelOptions& options);

// Opens the plan, or compiles the model for this CPU. Error: among others, --activations that the
// plan was not compiled with.
runtime::Result<OpenedPlan> open_plan(const Program& program, const ModelOptions& options);

// Opened, code and weights loaded.
runtime::Result<std::shared_ptr<runtime::Model>> load_model(const Program& program,
                                                            const ModelOptions& options);

// Error: the plan has no tokenizer.
runtime::Result<runtime::Tokenizer> tokenizer_of(const runtime::PlanFile& file);

// Token ids drawn evenly from 0..vocab_size-1, the same every time.
std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, uint64_t seed);

}  // namespace sinter::tools
