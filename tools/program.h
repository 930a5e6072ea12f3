// What a command may need from the compiler. `sinter` fills in everything; `sinter-run` has no
// compiler and leaves the functions empty, and the commands say so when they need one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/plan/file.h"
#include "runtime/support/result.h"
#include "runtime/text/tokenizer/import.h"

namespace sinter::tools {

struct OpenedPlan {
  std::shared_ptr<const runtime::PlanFile> file;
  bool weights_verified = false;  // their checksum was looked at already
};

// Whether a model's multi-token-prediction head is wanted.
struct MtpOptions {
  bool wanted = false;
  std::string from;  // a file of its own that has its tensors; empty: the model's has them
  bool operator==(const MtpOptions&) const = default;
};

struct PlanRequest {
  std::string model;             // folder, or a .safetensors file in it
  std::string targets = {};      // names separated by commas; empty: the best for this CPU
  std::string activations = {};  // "a8" or "a16"
  std::string kv_format = {};    // of caches: "f16", ..
  std::vector<std::string> quantize = {};   // rules as --quantize takes them
  std::vector<std::string> arch_from = {};  // files of --arch-from
  MtpOptions mtp = {};
  int64_t max_context = 0;  // 0: what the model says
  bool cached = false;      // look into the cache of plans, and leave the plan there
};

struct ReferenceRequest {
  std::string model;
  std::string kv_format = {};  // as in PlanRequest
  std::vector<std::string> quantize = {};
  std::vector<std::string> arch_from = {};
  std::vector<int32_t> tokens;
  std::string tokens_name;      // for messages
  bool token_by_token = false;  // steps of one token instead of one step of all
  std::string after_pass;       // run the graph as this pass leaves it; empty: as imported
};

struct Logits {
  int64_t vocab_size = 0;
  std::vector<float> rows;  // [tokens, vocab_size]
};

// What a target is assumed to do when times are predicted.
struct Rates {
  double bandwidth_gbs = 0;
  double gmacs = 0;  // int8 multiply-adds per nanosecond
};

// None when the target is unknown.
using TargetRates = std::function<std::optional<Rates>(std::string_view target)>;

struct DoctorLine {
  bool ok = false;
  std::string text;
};

struct Program {
  std::string name;  // "sinter"
  std::function<runtime::Result<OpenedPlan>(const PlanRequest&)> compile_model;
  std::function<runtime::Result<Logits>(const ReferenceRequest&)> reference_logits;
  std::function<runtime::Result<std::vector<runtime::PlanRemark>>(const PlanRequest&)>
      explain_model;
  // The tokenizer of a .gguf file, or of the folder of one.
  std::function<runtime::Result<runtime::TokenizerFiles>(const std::string& path)> gguf_tokenizer;
  TargetRates target_rates;
  std::vector<std::string> kv_formats;  // that caches of a model may have
  // A table of the instructions that kernels spend on a byte of weights.
  std::function<runtime::Result<std::string>(const runtime::PlanFile&)> count_instructions;
  std::function<std::vector<DoctorLine>()> examine_compiler;
};

}  // namespace sinter::tools
