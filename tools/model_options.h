// The MODEL|PLAN argument that most commands take, and what goes with it.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/session/session.h"
#include "runtime/support/result.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "tools/program.h"

namespace sinter::tools {

struct ModelOptions {
  std::string path;
  std::string activations;             // empty: the plan's, or a8 for a model
  std::string kv_format;               // of caches; empty: the plan's, or f16 for a model
  std::vector<std::string> quantize;   // rules; for a model only
  std::vector<std::string> arch_from;  // files of entries; for a model only
  MtpOptions mtp;
  std::string device = "host";
  std::string executor;  // empty: what suits the device
  int threads = 0;
  int64_t max_context = 0;  // for compiling a model; 0: what the model says
  int64_t context = 0;      // of the session to come; 0: not known yet
  bool cached = false;      // keep the compiled plan for next time
};

void add_model_argument(CLI::App& app, const Program& program, ModelOptions& options);
// --quantize, which add_model_argument has, for commands with a MODEL argument of their own.
void add_quantize_option(CLI::App& app, std::vector<std::string>& rules);
// --arch-from, likewise.
void add_arch_option(CLI::App& app, std::vector<std::string>& files);
// --mtp, for commands that can do something with the head, and --mtp-from, which implies it.
void add_mtp_options(CLI::App& app, MtpOptions& mtp, const std::string& text);
// --without, for commands that compile.
void add_without_option(CLI::App& app, std::vector<std::string>& passes);
// --kv-format, likewise. `format` may have a default.
CLI::Option* add_kv_format_option(CLI::App& app, const Program& program, std::string& format);
// --threads and --device.
void add_execution_options(CLI::App& app, ModelOptions& options, bool has_reference = false);
// --executor, where it makes a difference to what is shown.
void add_executor_option(CLI::App& app, ModelOptions& options);
runtime::Executor executor_of(const ModelOptions& options);

// Opens the plan, or compiles the model for the device. Error: among others, --activations or a
// --kv-format that the plan was not compiled with.
runtime::Result<OpenedPlan> open_plan(const Program& program, const ModelOptions& options);

// Says on stderr where the model runs. Called when everything that was asked for has been checked,
// so that a refusal stays one line.
void announce(const runtime::Model& model);

// Opened, code and weights loaded. A GPU is named on stderr.
runtime::Result<std::shared_ptr<runtime::Model>> load_model(const Program& program,
                                                            const ModelOptions& options);

// "cuda:0: NVIDIA H200, sm_90, 140.2 GB of 150.1 GB free"
std::string device_text(const runtime::DeviceInfo& device);

// "8 threads" or "132 multiprocessors"
std::string workers_text(const runtime::Model& model);
// What is taken of the GPU's memory, or the most that this process had of the host's.
uint64_t memory_in_use(const runtime::Model& model, const runtime::Session& session);

// Of a MODEL what `read` finds in its folder (runtime::read_tokenizer or read_chat_template) or
// else in its .gguf file; weights need not be there. Errors name the path.
runtime::Result<runtime::TokenizerFiles> read_model_text(
    const Program& program, const std::string& path,
    runtime::Result<runtime::TokenizerFiles> (*read)(const std::string& folder,
                                                     runtime::SourceFiles* sources));

// Error: the plan has no tokenizer.
runtime::Result<runtime::Tokenizer> tokenizer_of(const runtime::PlanFile& file);
// The same of a plan that was opened from `path`. Where that is a model whose tokenizer cannot be
// used, the error says why.
runtime::Result<runtime::Tokenizer> tokenizer_of(const Program& program, const std::string& path,
                                                 const runtime::PlanFile& file);

// Token ids drawn evenly from 0..vocab_size-1, the same every time.
std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, uint64_t seed);

}  // namespace sinter::tools
