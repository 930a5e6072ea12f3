// capture: every kernel launch of a short run, written down for an emulator or a debugger.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "runtime/abi/kernel_abi.h"
#include "runtime/host/device.h"
#include "runtime/plan/synthetic.h"
#include "runtime/session/layout.h"
#include "runtime/session/session.h"
#include "runtime/session/step_table.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/input_files.h"
#include "tools/model_input.h"
#include "tools/npy.h"
#include "tools/plan_cache.h"
#include "tools/reference.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {
namespace {

using Json = nlohmann::ordered_json;
using runtime::Argument;
using runtime::DevicePlan;
using runtime::Error;
using runtime::Phase;
using runtime::Result;
using runtime::Status;

struct CaptureOptions {
  std::string path;
  std::string target;
  std::string ids;
  std::string out;
  std::string schedule = "eager";
  std::string activations;
  int64_t decode = 3;
  double tolerance = 0;
};

std::string hex(const void* data, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i)
    text += fmt::format("{:02x}", static_cast<const uint8_t*>(data)[i]);
  return text;
}

Status write_bytes(const std::string& path, std::span<const uint8_t> bytes) {
  return write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// The logits that each step is compared with, and the tokens fed to it.
struct Step {
  std::vector<int32_t> tokens;
  int64_t position = 0;
  int64_t rows = 1;             // of logits, the last ones of the step
  std::vector<float> expected;  // [rows, vocab_size]; empty: not compared
};

class Capture {
 public:
  Capture(const CaptureOptions& options, const runtime::PlanFile& file,
          const runtime::CodeObject& code, int64_t positions)
      : options_(options),
        file_(file),
        plan_(file.plan()),
        device_(plan_.device_plans[code.device_plan]),
        code_(code),
        pages_((positions + page_positions - 1) / page_positions),
        layout_(plan_, device_, {positions, 1, pages_, pages_}) {}

  Status write(const std::vector<Step>& steps) {
    const std::string object = code_.target + ".hsaco";
    if (Status status = write_bytes(at(object), file_.bytes(code_.section)); !status.ok())
      return status;
    if (Status status = write_weights(); !status.ok()) return status;
    buffers_.push_back(buffer("weights", device_.weight_bytes, "weights.bin"));
    buffers_.push_back(buffer("state", layout_.paged.bytes, {}));
    // A new sequence starts with zeros.
    if (layout_.states.fixed_bytes != 0)
      if (Status status = add_zeros("fixed_state", layout_.fixed.bytes); !status.ok())
        return status;
    // The runtime clears the arena once: counters in it start from zero.
    if (Status status = add_zeros("arena", layout_.arena.bytes); !status.ok()) return status;
    buffers_.push_back(buffer("step", layout_.step.bytes, {}));
    if (Status status = add_pages(); !status.ok()) return status;
    buffers_.push_back(buffer("logits", layout_.logits.bytes, {}));
    if (options_.schedule == "persistent")
      if (Status status = add_decode_table(); !status.ok()) return status;

    Json list = Json::array();
    for (size_t i = 0; i < steps.size(); ++i) {
      auto step = step_json(steps[i], i);
      if (!step.ok()) return step.error();
      list.push_back(std::move(*step));
    }
    const Json capture = {
        {"version", 1}, {"target", code_.target}, {"buffers", buffers_}, {"steps", list}};
    const std::string text = capture.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    return write_file(at("capture.json"), text);
  }

 private:
  std::string at(const std::string& name) const { return options_.out + "/" + name; }

  static Json buffer(const std::string& id, uint64_t bytes, const std::string& init) {
    return {{"id", id}, {"bytes", bytes}, {"init", init.empty() ? Json() : Json(init)}};
  }
  Status add_zeros(const std::string& id, uint64_t bytes) {
    const std::vector<uint8_t> zeros(bytes, 0);
    buffers_.push_back(buffer(id, bytes, id + ".bin"));
    return write_bytes(at(id + ".bin"), zeros);
  }

  // The pages of the one sequence, one after another.
  Status add_pages() {
    std::vector<int32_t> pages(static_cast<size_t>(pages_));
    std::iota(pages.begin(), pages.end(), 0);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(pages.data());
    buffers_.push_back(buffer("pages", pages.size() * 4, "pages.bin"));
    return write_bytes(at("pages.bin"), {bytes, pages.size() * 4});
  }

  Status write_weights() {
    std::vector<uint8_t> bytes;
    if (!device_.synthetic()) {
      for (const runtime::Section& section : device_.weights_sections) {
        const auto stored = file_.bytes(section);
        bytes.insert(bytes.end(), stored.begin(), stored.end());
      }
      return write_bytes(at("weights.bin"), bytes);
    }
    bytes.resize(device_.weight_bytes + runtime::buffer_slack);
    for (size_t i = 0; i < device_.fills.size(); ++i)
      runtime::fill_range(device_.fills, i, plan_.seed, 0, runtime::fill_words(device_.fills[i]),
                          bytes.data());
    bytes.resize(device_.weight_bytes);
    return write_bytes(at("weights.bin"), bytes);
  }

  Json relocation(const Argument& argument, size_t where) const {
    std::string id;
    uint64_t offset = argument.offset;
    switch (argument.region) {
      case Argument::Region::weights:
        id = "weights";
        break;
      case Argument::Region::state:
        id = device_.states[argument.index].kind == runtime::PlanState::Kind::paged ? "state"
                                                                                    : "fixed_state";
        offset += layout_.states.offsets[argument.index];
        break;
      case Argument::Region::arena:
        id = "arena";
        break;
      case Argument::Region::logits:
        id = "logits";
        break;
    }
    return {{"at", where}, {"buffer", id}, {"offset", offset}};
  }

  Json launch(const std::string& phase, const std::string& kernel, uint32_t blocks,
              uint32_t shared_bytes, const GpuArguments& arguments, Json relocations) const {
    relocations.push_back(
        {{"at", offsetof(GpuArguments, step)}, {"buffer", "step"}, {"offset", 0}});
    relocations.push_back(
        {{"at", offsetof(GpuArguments, pages)}, {"buffer", "pages"}, {"offset", 0}});
    return {{"phase", phase},
            {"kernel", kernel},
            {"code_object", code_.target + ".hsaco"},
            {"grid", {blocks, 1, 1}},
            {"block", {gpu_block_threads, 1, 1}},
            {"dynamic_lds", shared_bytes},
            {"kernarg", hex(&arguments, sizeof(arguments))},
            {"relocs", std::move(relocations)}};
  }

  Json launch(const Phase& phase, int64_t rows) const {
    const int64_t times = phase.rows_per_block == 0
                              ? 1
                              : (rows + phase.rows_per_block - 1) / int64_t{phase.rows_per_block};
    const auto blocks = static_cast<uint32_t>(phase.blocks * times);
    GpuArguments arguments{};
    arguments.workers = static_cast<int>(blocks);
    arguments.pages_per_sequence = static_cast<int>(pages_);
    Json relocations = Json::array();
    for (size_t i = 0; i < phase.arguments.size(); ++i)
      relocations.push_back(
          relocation(phase.arguments[i], offsetof(GpuArguments, args) + i * sizeof(void*)));
    return launch(phase.name, device_.kernels[phase.kernel].symbol, blocks, phase.shared_bytes,
                  arguments, std::move(relocations));
  }

  const std::vector<Phase>& phases_for(int64_t rows) const {
    return device_.phases_for(runtime::Schedule::Entry::main, rows);
  }

  // What the kernel that runs the whole schedule walks through.
  Status add_decode_table() {
    const std::vector<Phase>& phases = phases_for(1);
    std::vector<DecodePhase> table(phases.size());
    Json relocations = Json::array();
    for (size_t i = 0; i < table.size(); ++i) {
      table[i].kernel = phases[i].kernel;
      for (size_t a = 0; a < phases[i].arguments.size(); ++a)
        relocations.push_back(
            relocation(phases[i].arguments[a],
                       i * sizeof(DecodePhase) + offsetof(DecodePhase, args) + a * sizeof(void*)));
    }
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(table.data()),
                                         table.size() * sizeof(DecodePhase));
    Json described = buffer("table", bytes.size(), "table.bin");
    described["relocs"] = relocations;
    buffers_.push_back(described);
    if (Status status = write_bytes(at("table.bin"), bytes); !status.ok()) return status;
    return add_zeros("arrivals", 8);
  }
  Json launch_whole_decode() const {
    GpuArguments arguments{};
    arguments.workers = 1;
    arguments.pages_per_sequence = static_cast<int>(pages_);
    arguments.args[1] = reinterpret_cast<void*>(phases_for(1).size());
    uint32_t shared_bytes = 0;
    for (const Phase& phase : phases_for(1))
      shared_bytes = std::max(shared_bytes, phase.shared_bytes);
    const size_t args = offsetof(GpuArguments, args);
    return launch("decode", "sinter_decode", 1, shared_bytes, arguments,
                  {{{"at", args}, {"buffer", "table"}, {"offset", 0}},
                   {{"at", args + 2 * sizeof(void*)}, {"buffer", "arrivals"}, {"offset", 0}}});
  }

  Result<Json> step_json(const Step& step, size_t number) const {
    std::vector<StepRow> rows;
    const auto count = static_cast<int64_t>(step.tokens.size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t logits = i - (count - step.rows);
      rows.push_back({.token = step.tokens[static_cast<size_t>(i)],
                      .position = static_cast<int>(step.position + i),
                      .sequence = 0,
                      .logits = static_cast<int>(std::max<int64_t>(logits, -1))});
    }
    std::vector<uint8_t> table(runtime::step_table_bytes(device_.chunk));
    runtime::write_step_table(table.data(), device_.chunk, rows);
    Json json = {
        {"writes", {{{"buffer", "step"}, {"offset", 0}, {"hex", hex(table.data(), table.size())}}}},
        {"launches", Json::array()},
        {"reads", Json::array()}};
    const bool decode = step.tokens.size() == 1 && step.position > 0;
    if (decode && options_.schedule == "persistent") {
      json["launches"].push_back(launch_whole_decode());
    } else {
      const int64_t most = decode ? 1 : options_.schedule == "few" ? count : device_.chunk;
      for (const Phase& phase : phases_for(most))
        json["launches"].push_back(launch(phase, static_cast<int64_t>(step.tokens.size())));
    }
    Json read = {{"name", "logits"},
                 {"buffer", "logits"},
                 {"offset", 0},
                 {"dtype", "f32"},
                 {"shape", {step.rows, plan_.vocab_size}}};
    if (!step.expected.empty()) {
      const std::string name = fmt::format("logits{}.npy", number);
      auto writer = NpyWriter::create(at(name), step.rows, plan_.vocab_size);
      if (!writer.ok()) return writer.error();
      if (Status status = writer->append(step.expected); !status.ok()) return status.error();
      if (Status status = writer->finish(); !status.ok()) return status.error();
      read["expect"] = name;
      read["rel_tol"] = options_.tolerance > 0       ? options_.tolerance
                        : plan_.activations == "a16" ? 0.02
                                                     : 0.05;
    }
    json["reads"].push_back(read);
    return json;
  }

  const CaptureOptions& options_;
  const runtime::PlanFile& file_;
  const runtime::Plan& plan_;
  const DevicePlan& device_;
  const runtime::CodeObject& code_;
  int64_t pages_;
  runtime::SessionLayout layout_;
  Json buffers_ = Json::array();
};

int32_t greedy(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// All rows of logits that the plan's code for this machine computes; none when it has no such code.
Result<std::vector<float>> host_logits(const std::shared_ptr<const runtime::PlanFile>& file,
                                       const std::vector<int32_t>& ids) {
  std::vector<float> rows;
  if (!runtime::choose_code(file->plan(), runtime::detect_host_cpu()).ok()) return rows;
  auto model = runtime::Model::load(file, {});
  if (!model.ok()) return model.error();
  auto session = runtime::Session::create(*model, static_cast<int64_t>(ids.size()));
  if (!session.ok()) return session.error();
  const auto append = [&](std::span<const float> part, int64_t) {
    rows.insert(rows.end(), part.begin(), part.end());
  };
  if (Status status = (*session)->prefill(ids, static_cast<int64_t>(ids.size()), append);
      !status.ok())
    return status.error();
  return rows;
}

// Prompt and decode steps as the runtime makes them. A model's logits and next tokens come from the
// reference, a plan's from its own code for this machine; without any, token 0 is fed and nothing
// is compared.
Result<std::vector<Step>> make_steps(const CaptureOptions& options, InputKind kind,
                                     const std::shared_ptr<const runtime::PlanFile>& file,
                                     const DevicePlan& device, std::vector<int32_t> ids) {
  const runtime::Plan& plan = file->plan();
  std::vector<Step> steps;
  const auto vocab = static_cast<size_t>(plan.vocab_size);
  const auto expect = [&](Step& step, const std::vector<float>& rows) {
    if (rows.empty()) return;
    const size_t end = static_cast<size_t>(step.position) + step.tokens.size();
    const auto begin =
        rows.begin() + static_cast<ptrdiff_t>((end - static_cast<size_t>(step.rows)) * vocab);
    step.expected.assign(begin, rows.begin() + static_cast<ptrdiff_t>(end * vocab));
  };
  Progress progress;
  const auto reference = [&]() -> Result<std::vector<float>> {
    if (kind == InputKind::plan) return host_logits(file, ids);
    progress.update("computing the reference", -1);
    auto logits = reference_logits({.model = options.path,
                                    .tokens = ids,
                                    .tokens_name = options.ids,
                                    .token_by_token = false,
                                    .after_pass = {}});
    if (!logits.ok()) return logits.error();
    return std::move(logits->rows);
  };
  auto rows = reference();
  if (!rows.ok()) return rows.error();
  const auto prompt = static_cast<int64_t>(ids.size());
  for (int64_t done = 0; done < prompt;) {
    const int64_t most =
        options.schedule == "few" ? std::min(device.chunk, codegen::kFewRows) : device.chunk;
    const int64_t size = std::min({most, device.logits_rows, prompt - done});
    Step step;
    step.position = done;
    step.rows = size;
    step.tokens.assign(ids.begin() + done, ids.begin() + done + size);
    expect(step, *rows);
    steps.push_back(std::move(step));
    done += size;
  }
  for (int64_t i = 0; i < options.decode; ++i) {
    const int32_t token =
        rows->empty() ? 0 : greedy(std::span(*rows).subspan((ids.size() - 1) * vocab, vocab));
    Step step;
    step.position = static_cast<int64_t>(ids.size());
    step.tokens = {token};
    ids.push_back(token);
    if (rows = reference(); !rows.ok()) return rows.error();
    expect(step, *rows);
    steps.push_back(std::move(step));
  }
  return steps;
}

Result<OpenedPlan> open(const CaptureOptions& options, InputKind kind) {
  if (kind == InputKind::plan) {
    if (!options.activations.empty())
      return Error{
          fmt::format("{}: --activations is for models; a plan has its own", options.path)};
    auto file = runtime::PlanFile::open(options.path, true);
    if (!file.ok()) return file.error();
    return OpenedPlan{*file, true};
  }
  const auto targets = codegen::parse_targets(options.target);
  if (!targets.ok()) return to_error(targets.status());
  auto input = open_model(options.path);
  if (!input.ok()) return input.error();
  codegen::CompileOptions compile;
  compile.targets = *targets;
  compile.activations = activations_of(options.activations);
  compile.persistent = options.schedule == "persistent";
  return compile_temporary(*input, compile);
}

Result<int> capture(const CaptureOptions& options) {
  const auto target = codegen::parse_targets(options.target);
  if (!target.ok()) return to_error(target.status());
  if (target->size() != 1 || target->front().family != "amdgpu")
    return Error{fmt::format("--target {}: captures are of one AMD target, such as gfx1100",
                             options.target)};
  const auto written = InputFiles().add_model(options.path).check_output_folder(options.out);
  if (!written.ok()) return written.error();
  const auto ids = read_token_ids(options.ids);
  if (!ids.ok()) return ids.error();
  const auto kind = kind_of_input(options.path);
  if (!kind.ok()) return kind.error();
  const auto plan_file = open(options, *kind);
  if (!plan_file.ok()) return plan_file.error();
  const runtime::Plan& plan = plan_file->file->plan();
  const auto code = std::find_if(plan.code.begin(), plan.code.end(), [&](const auto& object) {
    return object.target == options.target;
  });
  if (code == plan.code.end())
    return Error{fmt::format("{}: has no code for {}; compile it with --target {}", options.path,
                             options.target, options.target)};
  if (options.schedule == "persistent" &&
      plan_file->file->text(code->section).find("sinter_decode.kd") == std::string_view::npos)
    return Error{
        fmt::format("{}: has no kernel that runs a whole decode step; compile it with --persistent",
                    options.path)};
  if (Status status = check_token_ids(*ids, plan.vocab_size, options.ids); !status.ok())
    return status.error();
  const int64_t positions = static_cast<int64_t>(ids->size()) + options.decode;
  if (positions > plan.max_context)
    return Error{
        fmt::format("{}: {} token ids and --decode {} need {} positions, but the context "
                    "holds {}",
                    options.ids, ids->size(), options.decode, positions, plan.max_context)};
  const auto steps =
      make_steps(options, *kind, plan_file->file, plan.device_plans[code->device_plan], *ids);
  if (!steps.ok()) return steps.error();
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) return Error{fmt::format("{}: cannot be created: {}", options.out, error.message())};
  Capture writer(options, *plan_file->file, *code, positions);
  if (Status status = writer.write(*steps); !status.ok()) return status.error();
  note(fmt::format("wrote {}: {} steps for {}{}", options.out, steps->size(), options.target,
                   steps->front().expected.empty()
                       ? "; the plan has no code for this machine, so nothing is compared"
                       : ""));
  return 0;
}

}  // namespace

void add_capture(CommandLine& line) {
  auto options = std::make_shared<CaptureOptions>();
  CLI::App& app = line.add(
      "capture",
      "Write every kernel launch of a prefill and some decode steps to a folder: code object, "
      "buffers, arguments with relocations, and what the float32 reference computes, to replay "
      "machine code without its machine. Greedy tokens are fed on.",
      "sinter capture models/tiny-bonsai-1bit --target gfx1100 --ids ids.txt --decode 3 --out "
      "capture",
      [options] { return capture(*options); });
  app.add_option("MODEL|PLAN", options->path, "A model folder, or a plan with code for the target")
      ->required();
  app.add_option("--target", options->target, "The AMD target, such as gfx1100")->required();
  app.add_option("--ids", options->ids, "File of the prompt's token ids; - is stdin")
      ->required()
      ->type_name("FILE");
  app.add_option("--decode", options->decode, "Decode steps after the prompt")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--out", options->out, "The folder to write")->required()->type_name("DIR");
  app.add_option(
         "--schedule", options->schedule,
         "eager: a launch per phase; few: the same, and the prompt is read by the schedules "
         "for a few rows; persistent: a decode step is one launch of one block that runs all "
         "phases")
      ->check(CLI::IsMember({"eager", "few", "persistent"}))
      ->capture_default_str();
  app.add_option("--activations", options->activations, "For a model: a8 (the default) or a16")
      ->check(CLI::IsMember({"a8", "a16"}));
  app.add_option("--tolerance", options->tolerance,
                 "Relative error that a replay may have; 0 takes 0.02 for a16, 0.05 for a8")
      ->check(CLI::Range(0.0, 10.0));
}

}  // namespace sinter::tools
